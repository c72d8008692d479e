"""Turns whatever a command raised into one line that people understand, with a remedy.

Libraries are looked at only if the command has loaded them.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import click

from mediactl.errors import FAILED, NOT_FOUND, REFUSED, USAGE, CommandError

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_INVALID = {
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "NotAuthorized",
    "UnauthorizedOperation",
}
_THROTTLED = {
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_NEW_CREDENTIALS = "sign in again (`aws sso login`), or set AWS_PROFILE"
_REACH_AWS = (
    "check the network, proxies, the name of the region and https://health.aws.amazon.com;"
    " MEDIACTL_ANSWER_SECONDS=60 waits longer"
)
_TRY_LATER = "try again in a minute; `mediactl status` shows how the environment does"
_NO_SPACE = "make room, also in the folder of temporary files (TMPDIR)"
_NO_ACCESS = "check who may read and write there, or name another place"
_NO_PATH = "check the path"
_NO_NETWORK = "check the network and proxies"
_OF_SYSTEM = {
    errno.EACCES: _NO_ACCESS,
    errno.EDQUOT: "make room: a quota of the file system is used up",
    errno.EFBIG: "files of this size may not be written there: see `ulimit -f`",
    errno.EHOSTUNREACH: _NO_NETWORK,
    errno.ECONNREFUSED: _NO_NETWORK,
    errno.ECONNRESET: _NO_NETWORK,
    errno.EISDIR: _NO_PATH,
    errno.ELOOP: _NO_PATH,
    errno.EMFILE: "too many files are open: see `ulimit -n`",
    errno.ENAMETOOLONG: _NO_PATH,
    errno.ENETUNREACH: _NO_NETWORK,
    errno.ENOENT: _NO_PATH,
    errno.ENOSPC: _NO_SPACE,
    errno.ENOTDIR: _NO_PATH,
    errno.EPERM: _NO_ACCESS,
    errno.EROFS: _NO_ACCESS,
    errno.ETIMEDOUT: _NO_NETWORK,
}
"""What a person can do about errors of the system."""

_OTHER_VERSION = "the environment may run another version than this mediactl: `mediactl deploy`"
_OF_KIND = {
    "not-found": ("the API does not offer this", _OTHER_VERSION, NOT_FOUND),
    "tenant-not-found": (
        "there is no such tenant that you administer",
        "`mediactl tenants list` shows operators all of them",
        NOT_FOUND,
    ),
    "user-not-found": (
        "there is no such user that you may see",
        "`mediactl users list` shows those that you may see",
        NOT_FOUND,
    ),
    "video-not-found": (
        "there is no video with this id that you may see",
        "`mediactl videos list` shows those that you may see",
        NOT_FOUND,
    ),
}
"""Problems whose text names paths of the API: text, hint and exit code."""

_HTTP_UNAUTHORIZED = 401
_HTTP_INVALID = 422
_HTTP_SERVER_ERROR = 500
_CODES = dict.fromkeys((403, 409, 412, 429), REFUSED) | {404: NOT_FOUND, _HTTP_INVALID: USAGE}
"""Exit codes by status of the API."""


def explain(error: Exception) -> CommandError:
    """Return the error as it is shown.

    Args:
        error: What a command raised.
    """
    if isinstance(error, CommandError):
        return error
    explained = _of_command_line(error) or _of_aws(error) or _of_api(error) or _of_system(error)
    return explained or CommandError(
        f"{type(error).__name__}: {_one_line(error) or 'no text'}",
        hint="this was not foreseen; MEDIACTL_DEBUG=1 shows where it happened",
    )


def is_throttled(error: Any) -> bool:
    """Return whether AWS answered, as an error says, that it is asked too much."""
    return error.response.get("Error", {}).get("Code") in _THROTTLED


def wants_traceback() -> bool:
    """Return whether the person asked for tracebacks."""
    return os.environ.get("MEDIACTL_DEBUG", "") not in {"", "0"}


def _of_aws(error: Exception) -> CommandError | None:
    errors: Any = sys.modules.get("botocore.exceptions")
    if errors is None:
        return None
    parsers: Any = sys.modules.get("botocore.parsers")
    if parsers is not None and isinstance(error, parsers.ResponseParserError):
        return CommandError(
            "what answers is not AWS: it sent what cannot be read",
            hint="check AWS_ENDPOINT_URL, proxies, and whether the network wants a sign-in first",
        )
    if isinstance(error, errors.ClientError):
        return _of_aws_answer(error)
    calls: Any = sys.modules.get("mediactl.aws_calls")
    unanswered = None if calls is None else calls.no_answer(error)
    if unanswered is not None:
        return CommandError(str(unanswered), hint=_REACH_AWS)
    text = _one_line(error)
    for kinds, explained, hint in (
        (
            (errors.NoCredentialsError, errors.PartialCredentialsError),
            "there are no AWS credentials",
            _NEW_CREDENTIALS,
        ),
        (errors.ProfileNotFound, text, "`aws configure list-profiles` shows those there are"),
        (
            (errors.SSOError, errors.TokenRetrievalError, errors.CredentialRetrievalError),
            f"the AWS credentials cannot be had: {text}",
            _NEW_CREDENTIALS,
        ),
        (
            (errors.HTTPClientError, errors.ConnectionError),
            f"AWS does not answer: {text}",
            _REACH_AWS,
        ),
        (
            errors.BotoCoreError,
            f"AWS cannot be called: {text}",
            "check the configuration of AWS: `aws configure list` shows it",
        ),
    ):
        if isinstance(error, kinds):
            return CommandError(explained, hint=hint)
    return None


def _of_aws_answer(error: Any) -> CommandError:
    code = str(error.response.get("Error", {}).get("Code", "unknown"))
    text = _one_line(error.response.get("Error", {}).get("Message") or error)
    call = error.operation_name
    if code in _EXPIRED:
        return CommandError("the AWS credentials have expired", hint=_NEW_CREDENTIALS)
    if code in _INVALID:
        return CommandError(f"AWS does not accept the credentials: {text}", hint=_NEW_CREDENTIALS)
    if code in _DENIED:
        return CommandError(
            f"the AWS credentials may not call {call}: {text}",
            hint="use credentials that may",
            exit_code=REFUSED,
        )
    if code in _THROTTLED:
        return CommandError(f"AWS throttles {call}: {text}", hint="try again in a minute")
    return CommandError(
        f"AWS refused {call}: {text} ({code})", hint="`mediactl doctor` looks for what may be wrong"
    )


def _of_api(error: Exception) -> CommandError | None:
    module: Any = sys.modules.get("mediactl.client")
    if module is not None and isinstance(error, module.ApiError):
        if error.status == _HTTP_UNAUTHORIZED:
            return CommandError(
                f"the API does not accept the token: {_one_line(error)}",
                hint="sign in again: `mediactl token login`",
                exit_code=REFUSED,
            )
        if error.kind in _OF_KIND:
            text, hint, code = _OF_KIND[error.kind]
            return CommandError(text, hint=hint, exit_code=code)
        return CommandError(
            f"the API refused: {_one_line(error)}",
            hint=_hint_of(error),
            exit_code=_CODES.get(error.status, FAILED),
        )
    http: Any = sys.modules.get("urllib3.exceptions")
    if http is not None and isinstance(error, http.HTTPError):
        return CommandError(
            f"the platform does not answer: {_one_line(error)}",
            hint="check the network, proxies and `mediactl status`",
        )
    return None


def _hint_of(error: Any) -> str | None:
    """Return what to do where the text of a problem does not say so by itself."""
    if error.status >= _HTTP_SERVER_ERROR:
        return _TRY_LATER
    if error.status == _HTTP_INVALID:
        return "change what it names; `--help` tells what may be given"
    return None


def _of_command_line(error: Exception) -> CommandError | None:
    if not isinstance(error, click.ClickException):
        return None
    text, hint = error.format_message(), None
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"see `{error.ctx.command_path} --help`"
    if isinstance(error, click.NoSuchOption):
        text = error.message
        if error.possibilities:
            hint = f"did you mean {' or '.join(error.possibilities)}?"
    text = _one_line(text).removesuffix(".")
    return CommandError(f"{text[:1].lower()}{text[1:]}", hint=hint, exit_code=error.exit_code)


def _of_system(error: Exception) -> CommandError | None:
    if isinstance(error, UnicodeEncodeError):
        # Letters of arguments that are no UTF-8 cannot be sent or written again.
        return CommandError(
            "an argument or a variable is no UTF-8, and cannot be sent",
            hint="type it anew, in a terminal whose letters are UTF-8",
            exit_code=USAGE,
        )
    if isinstance(error, OSError) and error.strerror:
        if error.errno == errno.ENOENT and error.filename is None and not _has_folder():
            return CommandError(
                "the folder in which this runs was removed", hint="go to another one with `cd`"
            )
        where = f"{os.fsdecode(error.filename)}: " if _is_path(error.filename) else ""
        return CommandError(f"{where}{error.strerror}", hint=_OF_SYSTEM.get(error.errno or 0))
    return None


def _is_path(name: object) -> bool:
    """Return whether an error names a file; those of sockets and descriptors do not."""
    return isinstance(name, str | bytes | os.PathLike)


def _has_folder() -> bool:
    """Return whether the folder in which this process runs is there."""
    try:
        os.getcwd()  # noqa: PTH109 - whether it fails is the question
    except OSError:
        return False
    return True


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
