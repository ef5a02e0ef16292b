"""The cluster folder: complete, private, understood by FireWorks and jobflow for every batch system."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fireworks import FWorker, fw_config
from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter

from qdip_dft.cluster.folder import ClusterFolder, ClusterSettings, write_cluster_folder
from qdip_dft.cluster.resources import JobClass, Request, Resources, Scheduler, read_resources
from qdip_dft.errors import ResultsError
from qdip_dft.model.calculation import Level
from qdip_dft.model.engine import PresetName
from tests.command_line import assert_four_parts, qdip

PASSWORD = 's3cret"with\\quotes: {}'


def settings(**changes: object) -> ClusterSettings:
    given: dict[str, object] = {
        "mongodb_uri": "mongodb://db.example.org:27017",
        "database": "qdip",
        "user": "group",
        "password": PASSWORD,
        "authentication_database": "qdip",
        "partition": "long",
        "account": "abc123",
    }
    return ClusterSettings(**{**given, **changes})  # type: ignore[arg-type]


@pytest.fixture(params=list(Scheduler))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> ClusterFolder:
    return write_cluster_folder(tmp_path / "cluster", settings(scheduler=request.param))


def files(folder: ClusterFolder) -> list[Path]:
    return [path for path in folder.path.rglob("*") if path.is_file()]


def test_nothing_is_left_to_fill_in(folder):
    assert not [path for path in files(folder) if "{{" in path.read_text(encoding="utf-8")]


def test_files_with_the_password_are_private(folder):
    holding = [path for path in files(folder) if "s3cret" in path.read_text(encoding="utf-8")]
    assert {path.name for path in holding} == {"my_launchpad.yaml", "jobflow.yaml", "qdip.yaml"}
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}


def test_any_password_survives_the_file(folder):
    content = yaml.safe_load(folder.launchpad_file.read_text(encoding="utf-8"))
    assert content["mongoclient_kwargs"]["password"] == PASSWORD


def test_all_paths_are_absolute_and_exist(folder):
    for job_class in JobClass:
        content = yaml.safe_load((folder.worker(job_class) / "FW_config.yaml").read_text(encoding="utf-8"))
        paths = [Path(value) for name, value in content.items() if name.endswith(("_LOC", "_DIR"))]
        assert len(paths) == 4
        assert all(path.is_absolute() and path.exists() for path in paths)


def test_fireworks_knows_every_setting(folder):
    for job_class in JobClass:
        content = yaml.safe_load((folder.worker(job_class) / "FW_config.yaml").read_text(encoding="utf-8"))
        assert all(hasattr(fw_config, name) for name in content)


def test_a_worker_takes_its_own_class_only(folder):
    for job_class in JobClass:
        worker = FWorker.from_file(str(folder.worker(job_class) / "my_fworker.yaml"))
        assert worker.query["spec._category"] == {"$in": [job_class.value]}


def test_fireworks_writes_a_complete_batch_script(folder, tmp_path):
    resources = folder.read_resources()
    for job_class in JobClass:
        adapter = CommonAdapter.from_file(str(folder.worker(job_class) / "my_qadapter.yaml"))
        script = adapter.get_script_str(str(tmp_path))
        assert "long" in script
        assert "abc123" in script
        assert str(folder.launchpad_file) in script
        adapter.update(resources.queue_parameters(job_class, preset=PresetName.PRECISE))
        assert "$$" not in adapter.get_script_str(str(tmp_path))  # warns, and fails, about keys it does not know


def script_lines(folder: ClusterFolder, job_class: JobClass) -> list[str]:
    """Return the batch script that `qlaunch -r` would write, without empty lines."""
    adapter = CommonAdapter.from_file(str(folder.worker(job_class) / "my_qadapter.yaml"))
    adapter.update(folder.read_resources().queue_parameters(job_class, preset=PresetName.FAST))
    return [line for line in adapter.get_script_str("/launch").splitlines() if line.strip()]


EXPECTED_REQUESTS = {
    Scheduler.SLURM: {
        "#SBATCH --nodes=4", "#SBATCH --ntasks=128", "#SBATCH --cpus-per-task=1",
        "#SBATCH --time=48:00:00", "#SBATCH --partition=long",
        "#SBATCH --account=abc123", "#SBATCH --job-name=qdip-dft-large", "#SBATCH --mem=120000M",
        "#SBATCH --output=qdip-dft-large-%j.out", "#SBATCH --error=qdip-dft-large-%j.error",
    },
    Scheduler.PBS: {
        "#PBS -l nodes=4:ppn=32", "#PBS -l walltime=48:00:00", "#PBS -q long", "#PBS -A abc123",
        "#PBS -N qdip-dft-large", "#PBS -o FW_job.out", "#PBS -e FW_job.error", "#PBS -l pmem=3750mb",
    },
    Scheduler.SGE: {
        "#$ -q long", "#$ -A abc123", "#$ -N qdip-dft-large", "#$ -pe mpi 128", "#$ -l h_rt=48:00:00",
        "#$ -l h_vmem=3750M", "#$ -o FW_job.out", "#$ -e FW_job.error",
    },
}  # fmt: skip


@pytest.mark.parametrize("scheduler", list(Scheduler))
def test_a_batch_script_asks_for_exactly_what_the_class_needs(scheduler, tmp_path):
    folder = write_cluster_folder(tmp_path / "cluster", settings(scheduler=scheduler))
    lines = script_lines(folder, JobClass.DFT_LARGE)
    assert {line for line in lines if line.startswith(("#SBATCH", "#PBS", "#$"))} == EXPECTED_REQUESTS[scheduler]
    commands = [line for line in lines if not line.startswith("#")]
    assert commands[0] == f'export QDIP_BATCH="{scheduler} 48:00:00 $(date +%s)"'
    assert commands[1] == "export OMP_NUM_THREADS=1"
    assert commands[2].startswith("export FW_CONFIG_FILE=")
    assert commands[3] == "cd /launch"
    assert commands[4].endswith("my_fworker.yaml singleshot")
    assert len(commands) == 5


@pytest.mark.parametrize("scheduler", list(Scheduler))
def test_the_shell_accepts_every_batch_script(scheduler, tmp_path):
    folder = write_cluster_folder(tmp_path / "cluster", settings(scheduler=scheduler, pre_rocket="module load 'x y'"))
    for job_class in JobClass:
        script = "\n".join(script_lines(folder, job_class))
        subprocess.run(["bash", "-n"], input=script, text=True, check=True, capture_output=True)


def test_workers_that_pbs_starts_elsewhere_get_the_environment_of_the_script(tmp_path):
    folder = write_cluster_folder(tmp_path / "cluster", settings(scheduler=Scheduler.PBS, packed_ranks=3))
    (packed,) = [line for line in script_lines(folder, JobClass.MLIP) if line.startswith("pbsdsh")]
    shown = packed.replace("pbsdsh -- ", "", 1).split(f"{sys.executable} ")[0] + "printenv QDIP_BATCH FW_CONFIG_FILE"
    environment = {"PATH": os.environ["PATH"], "QDIP_BATCH": "PBS 4:00:00 7", "FW_CONFIG_FILE": "/c"}
    done = subprocess.run(["bash", "-c", shown], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["PBS 4:00:00 7", "/c"]


def test_what_is_not_given_is_left_to_the_batch_system(tmp_path):
    folder = write_cluster_folder(tmp_path / "cluster", settings(partition="", account=""))
    script = CommonAdapter.from_file(str(folder.worker(JobClass.MLIP) / "my_qadapter.yaml")).get_script_str(".")
    assert "--partition" not in script
    assert "--account" not in script


def test_a_second_folder_in_the_same_place_is_refused(folder):
    with pytest.raises(ResultsError, match="choose another folder"):
        write_cluster_folder(folder.path, settings())


def test_a_folder_comes_into_being_whole_or_not_at_all(tmp_path):
    def refuse(written: ClusterFolder) -> None:
        assert "s3cret" in written.launchpad_file.read_text(encoding="utf-8")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        write_cluster_folder(tmp_path / "below" / "cluster", settings(), try_out=refuse)
    assert list((tmp_path / "below").iterdir()) == []
    (tmp_path / "empty").mkdir()
    assert write_cluster_folder(tmp_path / "empty", settings()).launchpad_file.exists()


@pytest.mark.parametrize("command", ["init-cluster", "queue"])
def test_without_fireworks_the_first_thing_said_is_how_to_install_it(command, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fireworks", None)
    monkeypatch.setenv("QDIP_MONGODB_PASSWORD", "s3cret")
    options = {
        "init-cluster": (tmp_path / "new", "--uri", "mongodb://db.example.org", "--user", "group"),
        "queue": ("--cluster", folder.path),
    }
    assert_four_parts(qdip(command, *options[command], check=False), '[fireworks]"')
    assert not (tmp_path / "new").exists()


def test_credentials_open_to_others_are_refused(folder):
    folder.launchpad_file.chmod(0o644)
    with pytest.raises(ResultsError, match="chmod 600"), folder.open_launchpad():
        pass


def test_a_wrong_password_is_explained_without_showing_it(mongod, tmp_path, capsys):
    given = settings(mongodb_uri=f"mongodb://{mongod.host}:{mongod.port}", authentication_database="admin")
    folder = write_cluster_folder(tmp_path / "cluster", given)
    with pytest.raises(ResultsError, match="check address, user and password") as caught, folder.open_launchpad():
        pass
    assert "s3cret" not in str(caught.value) + repr(given) + capsys.readouterr().out


def test_a_password_in_the_address_is_refused(tmp_path):
    uri = "mongodb://group:s3cret@db.example.org"
    refused = qdip("init-cluster", tmp_path / "cluster", "--uri", uri, "--user", "group", check=False)
    assert_four_parts(refused, "QDIP_MONGODB_PASSWORD")
    assert "s3cret" not in refused.stderr
    assert not (tmp_path / "cluster").exists()


def test_a_folder_that_is_none_says_how_to_make_one(tmp_path):
    assert_four_parts(qdip("queue", "--cluster", tmp_path, check=False), "qdip init-cluster")


@pytest.mark.parametrize(
    ("level", "n_atoms", "expected"),
    [
        (Level.SCREENING, 500, JobClass.MLIP),
        (Level.DFT, 99, JobClass.DFT_SMALL),
        (Level.DFT, 100, JobClass.DFT_LARGE),
    ],
)
def test_the_class_follows_from_level_and_size(level, n_atoms, expected):
    assert Resources().classify(n_atoms=n_atoms, level=level) is expected


def test_a_finer_preset_gets_a_longer_wall_time():
    walltimes = [Resources().queue_parameters(JobClass.DFT_SMALL, preset=p)["walltime"] for p in PresetName]
    assert walltimes == ["24:00:00", "36:00:00", "48:00:00"]


def test_ranks_are_spread_over_the_nodes():
    resources = Resources(
        scheduler=Scheduler.PBS,
        classes={JobClass.DFT_LARGE: Request(nodes=3, ranks=100, walltime_h=0.5, memory_gb=34)},
    )
    asked = resources.queue_parameters(JobClass.DFT_LARGE, preset=PresetName.FAST)
    assert asked == {"nnodes": 3, "ppnode": 34, "cpus_per_task": 1, "walltime": "0:30:00", "pmem": "1000mb"}


def test_threads_of_a_process_have_cores_and_memory_of_their_own():
    request = Request(nodes=2, ranks=16, threads=4, walltime_h=1, memory_gb=64)
    classes = {JobClass.DFT_LARGE: request}
    slurm, pbs, sge = (
        Resources(scheduler=scheduler, classes=classes).queue_parameters(JobClass.DFT_LARGE, preset=PresetName.FAST)
        for scheduler in (Scheduler.SLURM, Scheduler.PBS, Scheduler.SGE)
    )
    assert (slurm["ntasks"], slurm["cpus_per_task"]) == (16, 4)
    assert (pbs["ppnode"], pbs["pmem"]) == (32, "2000mb")
    assert (sge["ntasks"], sge["mem_per_slot"]) == (64, "2000M")


def test_an_unknown_word_in_the_resources_is_refused(tmp_path):
    path = tmp_path / "resources.yaml"
    path.write_text("large_form_atoms: 50\n", encoding="utf-8")
    with pytest.raises(ResultsError, match="qdip init-cluster"):
        read_resources(path)


def test_templates_hold_no_secret(repository):
    for path in (repository / "fireworks_config").rglob("*.yaml"):
        for value in re.findall(r"password: *(.+)", path.read_text(encoding="utf-8")):
            assert value == '"{{ password }}"'
