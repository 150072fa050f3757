"""Hostile files read in bounded memory: blocks, lines, tables, documents, archives; outputs."""

from crossgrade.workloads.files.archive import ZipArchive
from crossgrade.workloads.files.documents import (
    as_count,
    as_number,
    as_text,
    canonical,
    check_keys_once,
    decode_document,
    decode_line,
)
from crossgrade.workloads.files.limits import FileLimits
from crossgrade.workloads.files.output import is_step_summary, whole_file
from crossgrade.workloads.files.sheets import WORKBOOK, NumberedRows, open_parquet, open_workbook
from crossgrade.workloads.files.source import (
    Block,
    Lines,
    file_errors,
    files_below,
    find_file,
    first_bytes,
    is_local,
    json_lines,
    line_blocks,
    line_starts,
    read_whole,
    seekable,
)
from crossgrade.workloads.files.table import Chunk, InputTable, open_table

__all__ = [
    "WORKBOOK",
    "Block",
    "Chunk",
    "FileLimits",
    "InputTable",
    "Lines",
    "NumberedRows",
    "ZipArchive",
    "as_count",
    "as_number",
    "as_text",
    "canonical",
    "check_keys_once",
    "decode_document",
    "decode_line",
    "file_errors",
    "files_below",
    "find_file",
    "first_bytes",
    "is_local",
    "is_step_summary",
    "json_lines",
    "line_blocks",
    "line_starts",
    "open_parquet",
    "open_table",
    "open_workbook",
    "read_whole",
    "seekable",
    "whole_file",
]
