import re

from profilers.collecting.secrets_and_limits import SECRET_PATTERN, FailureLimit, hash_secret, matches, new_secret


def test_secrets_differ_and_have_the_form_that_is_read() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(re.fullmatch(SECRET_PATTERN, secret) for secret in secrets)


def test_only_the_secret_itself_matches_its_hash() -> None:
    secret = new_secret()
    assert matches(secret, hash_secret(secret))
    assert secret not in hash_secret(secret)
    assert not matches(new_secret(), hash_secret(secret))
    assert not matches(secret, "")


def test_ten_failures_a_minute_are_too_many_for_one_address_only() -> None:
    now_s = [0.0]
    limit = FailureLimit(lambda: now_s[0])
    for _ in range(9):
        limit.add_failure("192.0.2.1")
    assert not limit.is_over("192.0.2.1")
    limit.add_failure("192.0.2.1")
    assert limit.is_over("192.0.2.1")
    assert not limit.is_over("192.0.2.2")
    now_s[0] = 61.0
    assert not limit.is_over("192.0.2.1")
