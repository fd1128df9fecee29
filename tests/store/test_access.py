"""Per-stage rights on a real MinIO. If these fail, one stage's fault or stolen key reaches what another one made."""

from __future__ import annotations

import itertools
import secrets
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest
from minio import Minio

from components.store.access import KEY_FILE, ROLES, SECRET_FILE, policy, set_up
from components.store.buckets import ensure_bucket
from components.store.errors import ConfigurationError, StoreError
from components.store.s3 import S3Store
from components.store.stage import Workspace, run_stage
from data_contracts.base import Contract
from data_contracts.lineage import Kind, Metric
from tests.engines.minio import Server

DENIED = "AccessDenied"
FOLDERS = sorted({folder for role in ROLES.values() for folder in (*role.writes, *role.reads)})


class Nothing(Contract):
    pass


@pytest.fixture(scope="module")
def url() -> str:
    return f"s3://roles-{uuid.uuid4().hex[:8]}/team"


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("users")
    for role in ROLES:
        (folder / role).mkdir()
        (folder / role / KEY_FILE).write_text(f"{role}-{secrets.token_hex(3)}\n")
        (folder / role / SECRET_FILE).write_text(secrets.token_hex(16))
    return folder


@pytest.fixture(scope="module")
def server(minio: Server, users: Path, url: str) -> Server:
    """The server with the roles set up, twice: the job that does it is run at every release."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in minio.environment.items():
            patch.setenv(name, value)
        set_up(url, users)
        set_up(url, users)
    return minio


def store_of(role: str, server: Server, users: Path, url: str) -> S3Store:
    key, secret = ((users / role / name).read_text().strip() for name in (KEY_FILE, SECRET_FILE))
    return S3Store(url, server.endpoint, key, secret)


def test_nobody_changes_what_others_answer_for() -> None:
    """In so many words: the tests below hold MinIO to the roles as they are, whatever those say."""
    writers = {folder: {role for role, bounds in ROLES.items() if folder in bounds.writes} for folder in FOLDERS}
    assert writers["raw"] == {"recording"}, "nobody trains on what he wrote himself"
    assert writers["datasets"] == {"intake"}
    assert writers["models"] == {"training", "release"}
    assert writers["channels"] == {"release"}, "or a policy would reach robots past the gate"
    assert "training" not in writers["evaluations"], "nobody judges himself"
    assert not ROLES["serving"].writes


@pytest.mark.parametrize(("role", "folder"), itertools.product(ROLES, FOLDERS))
def test_a_role_writes_and_reads_its_own_folders_and_no_other(
    role: str, folder: str, server: Server, users: Path, url: str
) -> None:
    administrator = S3Store(url, server.endpoint, server.access_key, server.secret_key)
    administrator.overwrite(f"{folder}/there", b"1")
    store, bounds = store_of(role, server, users, url), ROLES[role]
    key = f"{folder}/{role}"
    if folder in bounds.writes:
        store.create(key, b"2")
        store.delete(key)
    else:
        for attempt in (lambda: store.create(key, b"2"), lambda: store.overwrite(f"{folder}/there", b"2")):
            with pytest.raises(StoreError, match=DENIED):
                attempt()
        with pytest.raises(StoreError, match=DENIED):
            store.delete(f"{folder}/there")
    if folder in (*bounds.writes, *bounds.reads):
        assert store.read(f"{folder}/there") == b"1"
        assert store.stat(f"{folder}/absent") is None, "absent must not read as denied"
    else:
        with pytest.raises(StoreError, match=DENIED):
            store.read(f"{folder}/there")


@pytest.mark.parametrize("role", [role for role, bounds in ROLES.items() if set(bounds.writes) & set(get_args(Kind))])
def test_a_roles_rights_are_enough_to_publish_a_version(
    role: str, server: Server, users: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real protocol: status, claim, objects, record. Breaks if one of them needed a folder that the role lacks."""
    monkeypatch.setenv("ORRERY_PIPELINE", "toy")
    monkeypatch.setenv("ORRERY_RUN", f"run-{role}")
    store = store_of(role, server, users, url)

    def build(workspace: Workspace) -> Mapping[str, Metric]:
        (workspace.out / "big.bin").write_bytes(bytes(17 << 20))  # in parts
        return {}

    for kind in set(ROLES[role].writes) & set(get_args(Kind)):
        record = run_stage(
            store=store, stage=f"toy.{role}", kind=kind, name="toy", inputs={}, config=Nothing(), seed=0,
            sources=("components/store/keys.py",), build=build,
        )  # fmt: skip
        assert store.stat(f"{record.prefix}/big.bin")
        assert store.stat(f"runs/toy/run-{role}/stages/toy.{role}.json")
        assert not list(store.list("claims"))


def test_no_role_reaches_another_stores_prefix(server: Server, users: Path, url: str) -> None:
    """Two teams share a bucket: the end of a prefix is a slash, not the start of another team's name."""
    store = store_of("training", server, users, url.replace("/team", "/team-two"))
    with pytest.raises(StoreError, match=DENIED):
        store.create("models/x", b"")
    assert all(r.startswith(f"arn:aws:s3:::{url[5:]}/") for r in policy("training", url)["Statement"][1]["Resource"])


def test_a_role_without_credentials_is_named_before_anything_is_made(server: Server, users: Path) -> None:
    with pytest.raises(ConfigurationError, match="make the secret store-recording with the entries access-key-id"):
        set_up(f"s3://never-{uuid.uuid4().hex[:8]}", users / "nowhere")


def test_a_new_bucket_keeps_old_versions_for_a_while(minio_environment: Server) -> None:
    """Breaks if an object that somebody deleted by mistake were gone, or kept for ever."""
    bucket = f"kept-{uuid.uuid4().hex[:8]}"
    assert ensure_bucket(f"s3://{bucket}/team")
    server = minio_environment
    client = Minio(server.endpoint.removeprefix("http://"), server.access_key, server.secret_key, secure=False)
    assert client.get_bucket_versioning(bucket).status == "Enabled"
    rules = client.get_bucket_lifecycle(bucket).rules
    old = {r.rule_filter.prefix: r.noncurrent_version_expiration for r in rules if r.noncurrent_version_expiration}
    assert {prefix: rule.noncurrent_days for prefix, rule in old.items()} == {
        "team/": 30,
        "team/claims/": 1,
        "team/runs/": 1,
    }
    [expiring] = [r for r in rules if r.expiration]
    assert (expiring.rule_filter.prefix, expiring.expiration.days) == ("team/checkpoints/", 30)
