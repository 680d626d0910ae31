"""What object stores answer for a link: which of it says that the link ran out, and which code a person is told."""

import pytest

from app.clients.storage_errors import StorageError, read_storage_error


def s3(code: str, message: str = "", more: str = "") -> bytes:
    told = f"<Message>{message}</Message>" if message else ""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>{told}{more}</Error>'.encode()


AZURE_DETAIL = (
    "<AuthenticationErrorDetail>Signature not valid in the specified time frame: Start [Fri, 06 Nov 2026] - "
    "Expiry [Sat, 07 Nov 2026] - Current [Sun, 08 Nov 2026]</AuthenticationErrorDetail>"
)

EXPIRED = [
    # boto/boto3#2392, aws/aws-sdk-js#1099: the session that signed it has ended
    (s3("ExpiredToken", "The provided token has expired.", "<Token-0>canary</Token-0>"), "ExpiredToken"),
    # aws/aws-sdk-js#3493
    (s3("AccessDenied", "Request has expired", "<Expires>2020-10-15T02:03:37Z</Expires>"), "AccessDenied"),
    # fog/fog-google#264
    (
        s3("ExpiredToken", "The provided token has expired.", "<Details>Request has expired: 120</Details>"),
        "ExpiredToken",
    ),
    # cloudflare/cloudflare-docs#32436: R2, with 400 or 403
    (s3("ExpiredRequest", "Request has expired"), "ExpiredRequest"),
    (s3("RequestExpired"), "RequestExpired"),
    (s3("TokenRefreshRequired", "The provided token must be refreshed."), "TokenRefreshRequired"),
    (s3("SecurityTokenExpired", "The security token you provided has expired."), "SecurityTokenExpired"),
    (s3("RequestTimeTooSkewed"), "RequestTimeTooSkewed"),
    # Azure, of a shared access signature
    (
        s3("AuthenticationFailed", "Server failed to authenticate the request.", AZURE_DETAIL),
        "AuthenticationFailed",
    ),
    ("\ufeff".encode() + s3("AuthenticationFailed"), "AuthenticationFailed"),
    (
        b'{"error": {"code": "AuthenticationFailed", "message": "Server failed to authenticate the request."}}',
        "AuthenticationFailed",
    ),
    (
        b'{"code": "expired_auth_token", "message": "Authorization token has expired", "status": 401}',
        "expired_auth_token",
    ),
    (b'{"error": {"code": 400, "message": "The provided token has expired."}}', ""),
]

NOT_EXPIRED = [
    (s3("NoSuchKey", "The specified key does not exist.", "<Key>canary.jpg</Key>"), "NoSuchKey"),
    (s3("AccessDenied", "Access Denied"), "AccessDenied"),
    (s3("InvalidArgument", "Only one auth mechanism allowed"), "InvalidArgument"),
    (s3("BlobNotFound", "The specified blob does not exist."), "BlobNotFound"),
    (s3("KeyTooLongError"), "KeyTooLongError"),
    (b"<html><body>Bad Request</body></html>", ""),
    (b"", ""),
    (b"\xff\xfe<Code>", ""),
    (s3("a code with blanks"), ""),
]


@pytest.mark.parametrize(("body", "code"), EXPIRED)
def test_a_link_that_ran_out(body: bytes, code: str) -> None:
    assert read_storage_error({}, body) == StorageError(code, expired=True)


@pytest.mark.parametrize(("body", "code"), NOT_EXPIRED)
def test_another_refusal(body: bytes, code: str) -> None:
    assert read_storage_error({}, body) == StorageError(code, expired=False)


def test_azure_names_its_code_in_a_header_too() -> None:
    told = {"x-ms-error-code": "AuthenticationFailed"}
    assert read_storage_error(told, b"") == StorageError("AuthenticationFailed", expired=True)
    assert read_storage_error({"x-ms-error-code": "BlobNotFound"}, b"") == StorageError(
        "BlobNotFound", expired=False
    )
    assert read_storage_error({"x-ms-error-code": "canary canary"}, b"").code == ""
