"""Profiles as files: what the package has, what a user changes, and every impossible one refused with all its reasons."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from idxdd.device.possible import RULES, problems_of
from idxdd.device.profile import Profile
from idxdd.device.profilefile import DIRECTORY, KEYS, BadProfile, load, names
from idxdd.device.registerfile import capabilities
from idxdd.service.main import main
from idxdd.spec.codes import Command, Opcode
from idxdd.testing.mock_driver import DEDICATED, MockDriver
from idxdd.testing.profiles import DSA1, DSA2, PROFILES

Change = Callable[[Profile], Profile]


def written(tmp_path: Path, text: str, name: str = "mine.toml") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def problems(path: str) -> list[str]:
    """Every reason why there is no such profile, in the file's words."""
    with pytest.raises(BadProfile) as caught:
        load(path)
    return caught.value.problems


def pci(**switches: Any) -> Change:
    return lambda profile: replace(profile, platform=replace(profile.platform, **switches))


def change(**fields: Any) -> Change:
    return lambda profile: replace(profile, **fields)


def without(*opcodes: Opcode) -> Change:
    return lambda profile: replace(profile, opcodes=profile.opcodes - set(opcodes))


V1: dict[str, Any] = {"version": 0x100, "opcodes": DSA1.opcodes}
IDPT_COMMANDS = {Command.REQUEST_IDPT_HANDLE, Command.RELEASE_IDPT_HANDLE}
IMPOSSIBLE: list[tuple[str, str, Change]] = [
    ("wqcap.wqs", "must be 1 to 16", change(wqs=0)),
    ("wqcap.wqs", "must be 1 to 16", change(wqs=17, vectors=18)),
    ("wqcap.total_wq_size", "must be 1 to", change(total_wq_size=0)),
    ("wqcap.wqcfg_size_bytes", "32 or 64", change(wqcfg_size_bytes=48, op_config=False)),
    ("grpcap.groups", "must be 1 to 8", change(groups=9)),
    ("engcap.engines", "must be 1 to 16", change(engines=17)),
    ("gencap.max_xfer_shift", "must be 0 to 31", change(max_xfer_shift=32)),
    ("gencap.max_batch_shift", "must be 0 to 10", change(max_batch_shift=11)),
    ("gencap.max_batch_shift", "at least 1 while BATCH", change(max_batch_shift=0)),
    ("grpcap.read_buffers", "must be 0 to 255", change(read_buffers=256)),
    ("grpcap.read_buffers", "at least 4", change(read_buffers=3)),
    ("engcap.work_in_progress_max", "must be 0 to 255", change(work_in_progress_max=256)),
    ("engcap.batches_in_progress_max", "must be 0 to 255", change(batches_in_progress_max=256)),
    ("gencap.evl_support", "must be 0 to 3", change(evl_support=4)),
    ("gencap.evl_support", "needs version 2.0", lambda profile: replace(DSA1, evl_support=1)),
    ("gencap.evl_overflow", "without a log", lambda profile: replace(DSA1, evl_overflow=True)),
    ("gencap.fill16", "needs version 2.0", lambda profile: replace(DSA1, fill16=True)),
    ("gencap.fill16", "needs MEMFILL", without(Opcode.MEMFILL)),
    ("gencap.crc64", "needs version 2.0", lambda profile: replace(DSA1, crc64=True)),
    ("gencap.crc64", "needs CRCGEN or COPY_CRC", without(Opcode.CRCGEN, Opcode.COPY_CRC)),
    ("gencap.fault_info", "needs version 2.0", lambda profile: replace(DSA1, fault_info=True)),
    ("gencap.overlap_copy", "needs MEMMOVE", without(Opcode.MEMMOVE)),
    ("gencap.translation_fetch_stride", "needs TRANSL_FETCH", without(Opcode.TRANSL_FETCH)),
    ("gencap.batch_continuation", "needs BATCH", without(Opcode.BATCH)),
    ("gencap.batch1", "needs BATCH", lambda profile: replace(without(Opcode.BATCH)(profile), batch1=True)),
    ("idcap.idpt_entries", "must be 0 to 256", change(idpt_entries=257)),
    ("idcap.idpt_entries", "needs version 2.0", lambda profile: replace(DSA1, idpt_entries=1)),
    ("idcap.idpt_entries", "needs an inter-domain operation", change(idpt_entries=1)),
    ("operations", "need idcap.idpt_entries", change(opcodes=DSA2.opcodes | {Opcode.INTER_DOMAIN_COPY})),
    ("idcap.offset_mode", "needs idcap.idpt_entries", change(offset_mode=True)),
    ("idcap.suppress_drain", "needs UPDATE_WINDOW", change(suppress_drain=True)),
    ("idcap.submitter_bitmap", "needs idcap.idpt_entries", change(submitter_bitmap=True)),
    ("commands", "need each other", change(commands=DSA2.commands | {Command.REQUEST_IDPT_HANDLE})),
    ("commands", "need idcap.idpt_entries", change(commands=DSA2.commands | IDPT_COMMANDS)),
    ("commands", "INVALIDATE_BITMAP_CACHE", change(commands=DSA2.commands | {Command.INVALIDATE_BITMAP_CACHE})),
    (
        "operations",
        "TRANSL_FETCH needs version 2.0",
        lambda profile: replace(DSA1, opcodes=DSA1.opcodes | {Opcode.TRANSL_FETCH}),
    ),
    ("operations", "DIX_GEN needs version 2.0", lambda profile: replace(DSA1, opcodes=DSA1.opcodes | {Opcode.DIX_GEN})),
    ("operations", "must have DRAIN", without(Opcode.DRAIN)),
    ("gencap.drain_readback", "needs DRAIN", without(Opcode.DRAIN)),
    ("wqcap.op_config", "needs version 2.0", lambda profile: replace(DSA1, op_config=True, wqcfg_size_bytes=64)),
    ("wqcap.op_config", "wqcfg_size_bytes = 64", change(wqcfg_size_bytes=32)),
    ("wqcap.wq_prs_support", "needs gencap.evl_support", change(evl_support=0)),
    ("wqcap.occupancy_int", "needs wqcap.occupancy", change(occupancy=False)),
    ("wqcap.shared_mode", "or dedicated_mode", change(shared_mode=False, dedicated_mode=False)),
    ("grpcap.rdbuf_limit", "needs grpcap.rdbuf_ctrl", change(rdbuf_ctrl=False)),
    ("grpcap.progress_limit", "needs version 2.0", lambda profile: replace(DSA1, progress_limit=True)),
    ("grpcap.progress_limit", "needs engcap.work_in_progress_max", change(progress_limit=True)),
    ("grpcap.bandwidth_limit", "needs version 3.0", change(bandwidth_limit=True)),
    ("commands", "must have the first twelve", lambda p: replace(p, commands=p.commands - {Command.DRAIN_ALL})),
    ("gencap.cmd_cap", "first twelve commands and no others", change(cmd_cap=False)),
    ("commands", "need each other", lambda p: replace(p, commands=p.commands - {Command.RELEASE_INT_HANDLE})),
    ("msix.vectors", "must be wqcap.wqs + 1 to 32", change(vectors=8, int_handles_max=8)),
    ("msix.vectors", "must be wqcap.wqs + 1 to 32", change(vectors=33)),
    ("msix.int_handles_max", "must be 1 to msix.vectors", change(int_handles_max=10)),
    ("perfmon.counters", "must be 1 to 32", change(perf_counters=33)),
    ("perfmon.counter_width", "must be 1 to 64", change(perf_counter_width=65)),
    ("perfmon.events", "no others are counted", change(perf_events=(0x34,))),
    ("perfmon.events", "no others are counted", change(perf_events=(0,) * 17)),
    ("perfmon.filters", "only the filter by WQ", change(perf_filters=2)),
    ("pci.prs", "needs pci.ats", pci(ats=False)),
    ("pci.privileged_mode", "needs pci.pasid", pci(pasid=False)),
    ("pci.ats", "needs pci.ats_supported", pci(ats_supported=False)),
    ("pci.ats_required", "needs pci.ats_supported", pci(ats_required=True, ats_supported=False, ats=False, prs=False)),
    ("pci.prs_capacity", "must be 1 to", pci(prs_capacity=0)),
    ("pci.prs_allocation", "must be 1 to pci.prs_capacity", pci(prs_allocation=513)),
    ("pci.traffic_classes", "with class 0", pci(traffic_classes=0xFE)),
    ("pci.traffic_classes", "with class 0", pci(traffic_classes=0x101)),
    ("pci.bus_master", "must be true", pci(bus_master=False)),
]


@pytest.mark.parametrize(("key", "words", "broken"), IMPOSSIBLE, ids=[f"{key}-{n}" for n, (key, _, _) in enumerate(IMPOSSIBLE)])
def test_an_impossible_profile_is_refused_by_key_and_rule(key: str, words: str, broken: Change) -> None:
    """A device that the manual does not allow would answer in ways no driver was written for."""
    found = problems_of(broken(DSA2))
    assert any(problem.startswith(f"{key}: ") and words in problem for problem in found), found


def test_every_rule_has_a_profile_that_breaks_it() -> None:
    """A rule that nothing can break says nothing."""
    broken = {id(rule) for _, _, make in IMPOSSIBLE for rule in RULES if not rule.holds(make(DSA2))}
    untried = [f"{rule.key}: {rule.text}" for rule in RULES if id(rule) not in broken]
    assert not untried


def test_every_rule_is_about_a_key() -> None:
    """So that the user finds in the file what the message names."""
    assert {rule.key for rule in RULES} <= set(KEYS)


@pytest.mark.parametrize("name", names())
def test_the_packages_profiles_are_possible_and_complete(name: str) -> None:
    """They are what users copy."""
    profile = load(name)
    assert profile.name == name
    assert problems_of(profile) == []
    assert load(str(DIRECTORY / f"{name}.toml")) == profile


def test_the_two_generations_differ_as_the_manual_says() -> None:
    """registers.md section 6: GENCAP's decoded sample, OPCAP of Sapphire Rapids, and what 2.0 added (App. F)."""
    assert (DSA1.version, DSA2.version) == (0x100, 0x200)
    assert DSA1.opcap == 0x1_003F03FF
    assert DSA2.opcap & ~DSA1.opcap == 1 << Opcode.TRANSL_FETCH | 1 << Opcode.DIX_GEN
    one, two = ({type(register).__name__: register.raw for register in capabilities(profile)} for profile in (DSA1, DSA2))
    assert one["GENCAP"] == 0x815F0107
    assert one["CMDCAP"] == 0x1FFE
    assert two["GENCAP"] == one["GENCAP"] | 1 << 4 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 15
    assert two["CMDCAP"] == 0x7FFE


def test_a_small_file_is_like_another(tmp_path: Path) -> None:
    """Only what differs need be written, through several files if need be; paths count from the file that names them."""
    written(tmp_path, 'like = "dsa2"\nname = "middle"\n[wqcap]\nwqs = 2\n', "middle.toml")
    path = written(
        tmp_path, 'like = "middle.toml"\nname = "small"\n[wqcap]\ntotal_wq_size = 9\n[gencap]\nevl_overflow = true\n'
    )
    assert load(path) == replace(DSA2, name="small", wqs=2, total_wq_size=9, evl_overflow=True)


def test_files_that_are_like_each_other_are_refused(tmp_path: Path) -> None:
    """Without a limit they would be read for ever."""
    written(tmp_path, 'like = "b.toml"\n', "a.toml")
    assert "comes back to itself" in problems(written(tmp_path, 'like = "a.toml"\n', "b.toml"))[0]


def test_all_that_is_wrong_with_a_file_is_said_at_once(tmp_path: Path) -> None:
    """By key, with what was probably meant."""
    found = problems(
        written(
            tmp_path,
            'like = "dsa2"\nname = "a b"\nversion = "4.0"\noperations = ["NOOP", "MEMMOV"]\ncommands = "all"\nwqs = 4\n'
            '[gencap]\ncrc32 = true\nfill16 = 1\nmax_xfer_shift = "31"\n[pci]\nats = "yes"\nprs_capacity = -1\n'
            "[perfmon]\nevents = [1.5]\n",
        )
    )
    for words in (
        "wqs: is no key: write wqcap.wqs",
        "gencap.crc32: is no key: write gencap.crc64",
        "name: 'a b' must be 1 to 32",
        "version: '4.0' must be one of '1.0', '2.0'",
        "operations: 'MEMMOV' must be one of NOOP",
        "commands: 'all' must be a list",
        "gencap.fill16: 1 must be true or false",
        "gencap.max_xfer_shift: '31' must be a number",
        "pci.ats: 'yes' must be true or false",
        "pci.prs_capacity: -1 must be a number",
        "perfmon.events: 1.5 must be a number",
    ):
        assert any(problem.startswith(words) for problem in found), f"{words} is not in {found}"


def test_what_the_manual_has_and_this_device_does_not_is_said_so(tmp_path: Path) -> None:
    """A user who asks for Reduce must not think that the name is wrong."""
    assert problems(written(tmp_path, 'like = "dsa2"\noperations = ["REDUCE"]\n')) == [
        "operations: REDUCE is not done by this device"
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "not TOML"),
        ("[" * 5000, "not TOML"),
        ('name = "x"\n', 'is missing; write it, or like = "dsa2"'),
        ("like = 1\n", "like: must be the name"),
        ('like = "dsa9"\n', "there is dsa1, dsa2, dsa2-interdomain"),
        ('like = "dsa2"\ngencap = 1\n', "gencap: must be a section"),
        ("#" * 70000, "longer than"),
    ],
)
def test_a_file_that_is_none_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    """Never a traceback."""
    assert words in problems(written(tmp_path, text))[0]


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With the system's reason."""
    assert problems(str(tmp_path / "none.toml")) == ["No such file or directory"]
    assert problems("dsa3") == ["there is dsa1, dsa2, dsa2-interdomain; the path of a file has a slash or ends in .toml"]


def test_all_that_a_profile_says_shows_in_registers_and_is_obeyed(tmp_path: Path) -> None:
    """The sizes: what the driver reads, and what the device refuses beyond them."""
    from idxdd.spec.codes import CmdErr
    from idxdd.spec.registers import ENGCAP, GENCAP, GRPCAP, MSIXPERM, OPCAP, WQCAP

    text = (
        'like = "dsa2"\nname = "small"\noperations = ["NOOP", "DRAIN", "MEMMOVE"]\n'
        "[gencap]\nmax_xfer_shift = 20\nmax_batch_shift = 0\nfill16 = false\ncrc64 = false\ntranslation_fetch_stride = false\n"
        "batch_continuation = false\n[wqcap]\nwqs = 3\ntotal_wq_size = 40\n[grpcap]\ngroups = 2\n[engcap]\nengines = 3\n"
        "[msix]\nvectors = 4\nint_handles_max = 2\n"
    )
    profile = load(written(tmp_path, text))
    with MockDriver(profile) as driver:
        assert (driver.read(GENCAP).max_xfer_shift, driver.read(GENCAP).crc64) == (20, False)
        assert driver.read(WQCAP).replace() == driver.read(WQCAP)
        assert (driver.read(WQCAP).num_wqs, driver.read(WQCAP).total_wq_size) == (3, 40)
        assert (driver.read(GRPCAP).num_groups, driver.read(ENGCAP).num_engines) == (2, 3)
        assert driver.read(OPCAP).opcodes == 0b1101
        assert driver.device.registers.count(MSIXPERM) == 4
        driver.configure({**DEDICATED, "wq_size": 41, "max_xfer_shift": 20, "max_batch_shift": 0})
        assert driver.command(Command.ENABLE_DEVICE) is CmdErr.WQ_SIZE_SUM_ERANGE
        driver.configure({**DEDICATED, "max_batch_shift": 0, "op_config": 0b1101})
        assert driver.command(Command.ENABLE_DEVICE) is CmdErr.SUCCESS
        assert driver.command(Command.ENABLE_WQ, 0) is CmdErr.WQ_MAX_XFER_ERANGE, "21 is more than 20"
        assert driver.command(Command.ENABLE_WQ, 3) is CmdErr.INVAL_WQIDX
        handles = [driver.command(Command.REQUEST_INT_HANDLE, entry) for entry in range(4)]
        assert handles == [CmdErr.SUCCESS, CmdErr.SUCCESS, CmdErr.NO_HANDLE, CmdErr.NO_HANDLE]


def test_the_profile_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """list, show (which is a file to copy), check; exit codes tell."""
    assert main(["profile", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(PROFILES)
    assert main(["profile", "show", "dsa1"]) == 0
    copied = written(tmp_path, capsys.readouterr().out)
    assert load(copied) == DSA1
    assert main(["profile", "check", copied]) == 0
    assert "DSA 1.0, 8 WQs" in capsys.readouterr().out
    assert main(["profile", "show", copied, "--registers"]) == 0
    assert "OPCAP    0x1003f03ff" in capsys.readouterr().out
    broken = written(tmp_path, 'like = "dsa1"\n[gencap]\ncrc64 = true\nevl_support = 1\n')
    assert main(["profile", "check", broken]) == 8
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all("needs version 2.0" in line for line in said)
