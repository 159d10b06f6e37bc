"""Where credentials for a DICOMweb server come from: the environment, as command lines are seen by everybody."""

from __future__ import annotations

import os

import requests

from anomalyclip_med.errors import ConfigurationError

USER = "ANOMALYCLIP_MED_DICOMWEB_USER"
PASSWORD = "ANOMALYCLIP_MED_DICOMWEB_PASSWORD"
TOKEN = "ANOMALYCLIP_MED_DICOMWEB_TOKEN"

SECRETS = (PASSWORD, TOKEN)
"""Variables that are none of the scoring command's business."""


def environment() -> dict[str, str]:
    """The environment without the secrets, for the processes that this program starts."""
    return {name: value for name, value in os.environ.items() if name not in SECRETS}


def session() -> requests.Session:
    """A session that logs in with a token, else with a name and a password, else not at all.

    Raises:
        ConfigurationError: there is a name without a password, or the reverse.
    """
    result = requests.Session()
    user, password = os.environ.get(USER), os.environ.get(PASSWORD)
    if token := os.environ.get(TOKEN):
        result.headers["Authorization"] = f"Bearer {token}"
    elif user and password:
        result.auth = (user, password)
    elif user or password:
        raise ConfigurationError(f"set both {USER} and {PASSWORD}, or neither")
    if token or not user:
        result.trust_env = False  # a .netrc would take the token's place, or log in unasked
    return result
