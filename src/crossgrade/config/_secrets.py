"""Recognise literals that look like API keys, so that no file, message or record holds one."""

import re
from urllib.parse import urlsplit

KEY_SEEN = "this looks like a secret, which does not belong in the file"
REMOVE_KEY = (
    "remove it, put the key into an environment variable and name that variable in `api_key_env`; "
    "if this file was ever shared, revoke the key"
)

_KEY = re.compile(
    r"""(?x)
    \b(?: sk-[A-Za-z0-9_-]{16,}            # OpenAI, Anthropic, OpenRouter, DeepSeek
    | (?:gsk|xai|hf|fw|csk|r8|tgp_v1|nvapi|pplx|ghp|gho|github_pat|glpat)[_-][A-Za-z0-9_-]{16,}
    | AIza[A-Za-z0-9_-]{30,}               # Google
    | (?:AKIA|ASIA)[A-Z0-9]{16}            # AWS
    | ABSK[A-Za-z0-9+/=]{30,}              # Bedrock
    | eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.   # JWT
    | LLM\|[0-9]+\|[A-Za-z0-9_-]+          # Llama API
    ) | -----BEGIN[A-Z ]*PRIVATE\ KEY----- | \bBearer\s+[A-Za-z0-9._~+/-]{16,}
    """
)


def looks_secret(text: str) -> bool:
    """Tell whether a text contains what looks like an API key, or a URL with a password."""
    return _KEY.search(text) is not None or _url_password(text)


def _url_password(text: str) -> bool:
    if "://" not in text or "@" not in text or any(c.isspace() for c in text):
        return False
    try:
        return bool(urlsplit(text).password)
    except ValueError:
        return False
