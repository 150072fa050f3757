"""A verdict as a folder that another machine computes again, without the project and offline.

What the folder has is what `decide.decide_policy` reads: evidence, settings, time. A recipient runs
the same code as `crossgrade decide --verify` does, on the files instead of the store.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from crossgrade._version import __version__
from crossgrade.errors import CrossgradeError, DataError, UsageError
from crossgrade.project._baselines import check_withheld
from crossgrade.project._export_folder import (
    MANIFEST,
    SIGNATURE,
    ExportedVerdict,
    ExportManifest,
    ReadExport,
    check_free,
    listed,
    read_export,
    read_json,
    read_manifest,
    write_export,
    written_json,
)
from crossgrade.project._export_words import readme
from crossgrade.project._plugins import Plugins, find_plugins
from crossgrade.project._siblings import Decided, confirming, of_store, recorded_in, sibling_claims
from crossgrade.project._verdicts import Verification, verify_decided, verify_recorded

if TYPE_CHECKING:
    from crossgrade.decide import Evidence, Verdict
    from crossgrade.ledger import NoteVerifier
    from crossgrade.project._opened import OpenProject
    from crossgrade.store import Store

VERDICT = "verdict.json"
EVIDENCE = "evidence.json"
README = "README.md"
_LONGEST_ID = 1_000

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictExport:
    """What was exported: the verdict's id, the folder, its files, and the public key that signed it, if any.

    `unchecked` names the workloads that share the error rate and whose evidence is not in the folder.
    """

    verdict_id: str
    folder: Path
    files: tuple[str, ...]
    with_texts: bool
    signed_by: str | None = None
    unchecked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDifference:
    """A version with which a folder was written, and the one that is here (None: not installed)."""

    name: str
    written: str
    here: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportCheck:
    """Whether an exported verdict is what the files of its folder give here: it `holds` without `findings`.

    Each finding is an error with a code, and the file that it is about. `verification` is None if files or
    signature are wrong, since nothing is computed then. `signed_by` are the names of the keys that signed the
    manifest and were checked, `unchecked_signers` those that the folder claims. `versions` differ from those
    that wrote the folder.
    """

    manifest: ExportManifest
    findings: tuple[CrossgradeError, ...] = ()
    verification: Verification | None = None
    signed_by: tuple[str, ...] = ()
    unchecked_signers: tuple[str, ...] = ()
    versions: tuple[VersionDifference, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the verdict may be relied on as far as its signature is known."""
        return not self.findings and self.verification is not None


def export_verdict(
    project: "OpenProject", verdict_id: str, folder: Path, *, with_texts: bool
) -> VerdictExport:
    """Write a recorded verdict that holds as a folder, verified from its files alone; see `Project`."""
    folder = folder.absolute()
    check_free(folder)
    store, plugins = project.store, project.plugins
    check = verify_recorded(store, verdict_id, plugins)
    check.confirmed()
    _check_shown(store, check.verdict)
    signer = store.ledger.secrets.signer()
    vkey = None if signer is None else signer.vkey
    decided = recorded_in(store, store.verdicts.get(check.verdict_id))
    others = () if check.is_older else tuple(_siblings(store, check.verdict, plugins))
    files = dict(_files((decided, *others), with_texts=with_texts))
    files[README] = readme(check, with_texts=with_texts, signer=vkey)
    manifest = ExportManifest(
        verdict=_named(check.verdict_id, check.verdict),
        with_texts=with_texts,
        versions=_versions(check.verdict),
        files=listed(files),
    )
    written = ReadExport(manifest=read_manifest(manifest.encoded), text=manifest.encoded, files=files)
    again = _computed(written, plugins)
    _check_complete(again, with_texts=with_texts)
    signature = {} if signer is None else {SIGNATURE: signer.sign(_statement(written)).encode()}
    write_export(folder, {MANIFEST: written.text, **files, **signature})
    return VerdictExport(
        verdict_id=check.verdict_id,
        folder=folder,
        files=(MANIFEST, *files, *signature),
        with_texts=with_texts,
        signed_by=vkey,
        unchecked=again.unchecked,
    )


def verify_export(folder: str | Path, *, key: str | None = None, plugins: Sequence[str] = ()) -> ExportCheck:
    """Compute an exported verdict again from its folder alone, without a project, offline.

    With `key`, the public key of the project's ledger, the folder's signature must be by it. `plugins` names
    the installed packages whose guards the verdict was decided with: no other package is imported. Raises
    DataError for what is no export, cannot be read or is of a newer release, and UsageError for a wrong key.
    Everything else that is wrong is a finding.
    """
    from crossgrade.ledger import NoteVerifier

    verifier = None if key is None else NoteVerifier.of_log(key)
    guards = find_plugins(plugins)
    read = read_export(Path(folder))
    signed_by, unchecked, wrong = _signatures(read, verifier)
    check = ExportCheck(
        manifest=read.manifest,
        findings=(*read.findings, *wrong),
        signed_by=signed_by,
        unchecked_signers=unchecked,
        versions=tuple(_other_versions(read.manifest.versions)),
    )
    if check.findings:  # so that nothing in the folder is worth a computation
        return check
    verification = _computed(read, guards)
    findings: list[CrossgradeError] = list(_misnamed(read.manifest, verification))
    try:
        verification.confirmed()
    except CrossgradeError as finding:
        findings.append(finding)
    return replace(check, verification=verification, findings=tuple(findings))


def _check_shown(store: "Store", verdict: "Verdict") -> None:
    """Raise UsageError if the results that a verdict rests on are withheld sample by sample."""
    if verdict.run_id is not None:
        check_withheld(store, store.runs.get(verdict.run_id))


def _siblings(store: "Store", verdict: "Verdict", plugins: Plugins) -> Iterator[Decided]:
    """Yield the verdicts that confirm what a verdict says of other workloads, as far as they may be shown."""
    known = of_store(store)
    for (workload, digest), theirs in sibling_claims(verdict).items():
        found, _ = confirming(theirs, known(workload, digest), plugins)
        try:
            if found is not None:
                _check_shown(store, found.verdict)
                yield found
        except UsageError:  # it is withheld, and its p-values are taken as recorded
            continue


def _files(verdicts: Iterable[Decided], *, with_texts: bool) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a verdict and of those beside it, each with its name."""
    from crossgrade.decide import (
        evidence_to_json,
        evidence_without_texts,
        verdict_to_json,
        verdict_without_texts,
    )

    for number, each in enumerate(verdicts):
        verdict, evidence = each.verdict, each.read()
        if not with_texts:
            verdict, evidence = verdict_without_texts(verdict), evidence_without_texts(evidence)
        tree = {"id": each.verdict_id, **verdict_to_json(verdict)}
        yield _name(number, VERDICT), written_json(tree, indent=1)
        yield _name(number, EVIDENCE), written_json(evidence_to_json(evidence))


def _name(number: int, name: str) -> str:
    """Return the name of a file: the verdict's own are number 0, and those of the others count from 1."""
    return f"sibling-{number}-{name}" if number else name


def _computed(read: ReadExport, plugins: Plugins) -> Verification:
    """Compute a verdict again from the files of its folder. Raises DataError for what cannot be computed."""
    from crossgrade.decide import evidence_digest

    verdicts = list(_decided(read))

    def known(workload: str, digest: str) -> Iterator[Decided]:
        for each in verdicts[1:]:
            if each.verdict.workload == workload and evidence_digest(each.read()) == digest:
                yield each

    try:
        return verify_decided(verdicts[0], known, plugins)
    except CrossgradeError:
        raise
    except Exception as error:
        # The files may come from anybody. What no check foresaw must not look like a fault of Crossgrade.
        raise DataError(
            f"the verdict cannot be computed from its files: {type(error).__name__}",
            code="export-unfit",
            file=EVIDENCE,
            hint="ask its owner for a folder that `crossgrade export --verify` accepts there",
        ) from error


def _decided(read: ReadExport) -> Iterator[Decided]:
    """Yield the verdict of a folder and those beside it, with their evidence."""
    number = 0
    while number == 0 or _name(number, VERDICT) in read.files:
        yield _read_decided(read, _name(number, VERDICT), _name(number, EVIDENCE))
        number += 1


def _read_decided(read: ReadExport, verdict_name: str, evidence_name: str) -> Decided:
    from crossgrade.decide import evidence_from_json, verdict_from_json

    def content(name: str) -> Any:
        if name not in read.files:
            raise DataError(
                "the manifest lists no such file, and the verdict needs it",
                code="export-file-missing",
                file=name,
                hint="get the folder again, as it was written",
            )
        return read_json(name, read.files[name])

    @cache
    def evidence() -> "Evidence":
        return _located(evidence_name, partial(evidence_from_json, content(evidence_name)))

    tree = content(verdict_name)
    verdict = _located(verdict_name, partial(verdict_from_json, tree))
    return Decided(
        verdict_id=str(tree.get("id"))[:_LONGEST_ID],
        verdict=verdict,
        read=evidence,
        with_texts=read.manifest.with_texts,
    )


def _located(name: str, read: "Callable[[], _Found]") -> "_Found":
    """Return what is read, and add the file to its error."""
    try:
        return read()
    except DataError as error:
        error.file = error.file or name
        raise


def _check_complete(again: Verification, *, with_texts: bool) -> None:
    """Raise an error if the folder would not give the verdict that the store gives."""
    try:
        again.confirmed()
    except CrossgradeError as error:
        if with_texts:
            raise
        raise UsageError(
            "a guard of a plugin reads the words of texts, and without them the verdict is another one",
            code="export-needs-texts",
            hint="add `--with-texts`, if its recipients may read them",
        ) from error


def _named(verdict_id: str, verdict: "Verdict") -> ExportedVerdict:
    return ExportedVerdict(
        id=verdict_id,
        workload=verdict.workload,
        name=verdict.name,
        evidence_digest=verdict.evidence_digest,
    )


def _misnamed(manifest: ExportManifest, found: Verification) -> Iterator[DataError]:
    """Yield that a manifest names another verdict than its files have."""
    if manifest.verdict != _named(found.verdict_id, found.verdict):
        yield DataError(
            "the manifest names another verdict than the file has",
            code="export-misnamed",
            file=VERDICT,
            hint="do not rely on the folder: two exports were mixed",
        )


def _statement(read: ReadExport) -> str:
    """Return what is signed. Its first line keeps it from being read as a checkpoint, or as anything else."""
    return f"crossgrade-export/v1\nmanifest sha256:{sha256(read.text).hexdigest()}\n"


def _signatures(
    read: ReadExport, verifier: "NoteVerifier | None"
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[DataError, ...]]:
    """Return whose signatures were checked, whose are only claimed, and what is wrong with them."""
    from crossgrade.ledger import SignedNote

    if read.note is None:
        return (), (), () if verifier is None else (_unsigned(verifier.name),)
    try:
        note = SignedNote.read(read.note)
        checked = () if verifier is None else tuple(each.name for each in note.verified([verifier]))
    except DataError as finding:
        finding.file = SIGNATURE
        return (), (), (finding,)
    if note.text != _statement(read):
        return (), (), (_other_signed(),)
    return checked, tuple(sorted({each.name for each in note.signatures} - {*checked})), ()


def _other_signed() -> DataError:
    return DataError(
        "the signature is of another manifest",
        code="export-signature-other",
        file=SIGNATURE,
        hint="do not rely on the folder: the manifest was changed after it was signed",
    )


def _unsigned(name: str) -> DataError:
    return DataError(
        f"the folder has no signature, so {name} does not vouch for it",
        code="export-unsigned",
        file=SIGNATURE,
        hint="ask its owner to run `crossgrade audit init NAME`, and to export the verdict again",
    )


def _versions(verdict: "Verdict") -> dict[str, str]:
    """Return the versions of everything here that a verdict depends on."""
    names = ("python", "machine", "crossgrade", "numpy", "scipy")
    own = {name: str(_here(name)) for name in names}
    return own | {use.package: use.version for use in verdict.settings.plugins}


def _other_versions(written: Mapping[str, str]) -> Iterator[VersionDifference]:
    for name, then in written.items():
        here = _here(name)
        if here != then:
            yield VersionDifference(name=name, written=then, here=here)


def _here(name: str) -> str | None:
    """Return the version of what has this name in a manifest, None if it is not installed here."""
    fixed = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "crossgrade": __version__,
    }
    if name in fixed:
        return fixed[name]
    try:
        return version(name)
    except (PackageNotFoundError, ValueError):
        return None
