"""The derived files say what the declarations say, the header stands alone, and it agrees with the kernel's header.

C and Python must not have two truths; programs written against the kernel's header must find the same bytes here.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from idxdd.spec import emit

COMPILER = shutil.which("cc") or shutil.which("gcc")
KERNEL_HEADER = Path("/usr/include/linux/idxd.h")
INCLUDE = emit.TARGETS["header"][0].parents[1]
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


@pytest.mark.parametrize("target", sorted(emit.TARGETS))
def test_derived_file_is_fresh(target: str) -> None:
    """A declaration was changed and `make spec` not run, or the file was edited by hand."""
    assert emit.main(["--check", target]) == 0


@pytest.mark.parametrize("content", [None, "/* older */\n"])
def test_stale_file_is_one_line(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check says which file and what to run, writes nothing, and is content after writing."""
    path = tmp_path / "spec.h"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(emit, "ROOT", tmp_path)
    monkeypatch.setattr(emit, "TARGETS", {"header": (path, emit.header)})
    assert emit.main(["--check"]) == 1
    assert capsys.readouterr().err == "spec.h is stale: run `python -m idxdd.spec.emit header`\n"
    assert (path.read_text() if path.exists() else None) == content
    assert emit.main([]) == 0
    assert emit.main(["--check"]) == 0


def test_unwritable_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run from an installed copy there is no docs folder: say so, without a traceback."""
    path = tmp_path / "absent" / "spec.h"
    monkeypatch.setattr(emit, "TARGETS", {"header": (path, emit.header)})
    with pytest.raises(SystemExit) as ended:
        emit.main([])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"python -m idxdd.spec.emit: cannot write {path}: No such file or directory\n"


def compile_c(source: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    (folder / "test.c").write_text(source)
    assert COMPILER is not None
    command = [COMPILER, "-std=c11", *flags, f"-I{INCLUDE}", "-o", str(folder / "test"), str(folder / "test.c")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-Wundef")


@needs_compiler
def test_header_stands_alone(tmp_path: Path) -> None:
    """No other include is needed, twice is once, and its assertions hold."""
    include = '#include "idxdd/spec.h"\n'
    built = compile_c(include * 2 + "int main(void) { return 0; }\n", tmp_path, *STRICT)
    assert built.returncode == 0, built.stderr


@needs_compiler
def test_header_agrees_with_the_shared_layouts(tmp_path: Path) -> None:
    """Included after shm.h it also compares the codes both declare."""
    source = '#include "idxdd/shm.h"\n#include "idxdd/spec.h"\nint main(void) { return 0; }\n'
    built = compile_c(source, tmp_path, "-Wall", "-Wextra", "-Werror")
    assert built.returncode == 0, built.stderr


@needs_compiler
@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("DESCRIPTOR_INT_HANDLE_OFFSET 0x24u", "DESCRIPTOR_INT_HANDLE_OFFSET 0x26u", "int_handle: offset"),
        ("COMPLETION_RECORD_SIZE 0x20u", "COMPLETION_RECORD_SIZE 0x40u", "idxdd_hw_record: size"),
        ("GENSTS_STATE_MASK 0x3u", "GENSTS_STATE_MASK 0x7u", "GENSTS: no overlap"),
        ("REG_GENSTS 0x90u", "REG_GENSTS 0x9au", "GENSTS ends before INTCAUSE"),
    ],
)
def test_assertions_catch_a_wrong_header(right: str, wrong: str, says: str, tmp_path: Path) -> None:
    """An assertion that cannot fail would prove nothing."""
    text = emit.header()
    assert f"#define IDXDD_{right}\n" in text
    built = compile_c(text.replace(f"IDXDD_{right}", f"IDXDD_{wrong}") + "int main(void) { return 0; }\n", tmp_path)
    assert built.returncode != 0
    assert says in built.stderr


# ---- against the kernel's header --------------------------------------------------------------------------------------
KERNEL_CODES = {
    "DSA_OPCODE_": "OPCODE_",
    "DSA_COMP_": "STATUS_",
    "IDXD_OP_FLAG_": "FLAG_",
    "IDXD_SCMD_": "DRIVER_STATUS_",
}
"""The kernel's prefix to ours; the rest of the name is the same."""

RENAMED = {
    "IDXD_OP_FLAG_CC": "FLAG_CC1",
    "IDXD_OP_FLAG_DRDBK": "FLAG_CC2",
    "IDXD_OP_FLAG_CRSTS": "FLAG_CC3",
    "DSA_COMP_STATUS_MASK": "STATUS_CODE_MASK",
    "DSA_COMP_STATUS_WRITE": "STATUS_WRITE_FAULT",
}
"""Cache control 1-3: the architecture's names since 2.0 (destination readback) and 3.0 (was completion steering)."""

KERNEL_FIELDS = {
    "dsa_hw_desc": {
        "completion_addr": "DESCRIPTOR_COMPLETION_ADDR", "src_addr": "MEMMOVE_DESCRIPTOR_SRC_ADDR",
        "rdback_addr": "DRAIN_DESCRIPTOR_READBACK_ADDR1", "pattern": "FILL_DESCRIPTOR_PATTERN_LOWER",
        "desc_list_addr": "BATCH_DESCRIPTOR_DESC_LIST_ADDR", "dst_addr": "MEMMOVE_DESCRIPTOR_DST_ADDR",
        "rdback_addr2": "DRAIN_DESCRIPTOR_READBACK_ADDR2", "src2_addr": "COMPARE_DESCRIPTOR_SRC2_ADDR",
        "comp_pattern": "COMPARE_PATTERN_DESCRIPTOR_PATTERN", "xfer_size": "DESCRIPTOR_XFER_SIZE",
        "desc_count": "BATCH_DESCRIPTOR_DESC_COUNT", "int_handle": "DESCRIPTOR_INT_HANDLE",
        "expected_res": "COMPARE_DESCRIPTOR_EXPECTED_RESULT", "delta_addr": "CREATE_DELTA_DESCRIPTOR_DELTA_ADDR",
        "max_delta_size": "CREATE_DELTA_DESCRIPTOR_MAX_DELTA_SIZE",
        "expected_res_mask": "CREATE_DELTA_DESCRIPTOR_EXPECTED_RESULT_MASK",
        "delta_rec_size": "APPLY_DELTA_DESCRIPTOR_DELTA_REC_SIZE", "dest2": "DUALCAST_DESCRIPTOR_DST2_ADDR",
        "pattern_upper": "FILL_DESCRIPTOR_PATTERN_UPPER", "crc_seed": "CRC_DESCRIPTOR_CRC_SEED",
        "seed_addr": "CRC_DESCRIPTOR_SEED_ADDR", "src_dif_flags": "DIF_DESCRIPTOR_SRC_DIF_FLAGS",
        "dif_chk_flags": "DIF_DESCRIPTOR_DIF_FLAGS", "chk_ref_tag_seed": "DIF_DESCRIPTOR_SRC_REF_TAG_SEED",
        "chk_app_tag_mask": "DIF_DESCRIPTOR_SRC_APP_TAG_MASK", "chk_app_tag_seed": "DIF_DESCRIPTOR_SRC_APP_TAG_SEED",
        "dest_dif_flag": "DIF_DESCRIPTOR_DST_DIF_FLAGS", "dif_ins_flags": "DIF_DESCRIPTOR_DIF_FLAGS",
        "ins_ref_tag_seed": "DIF_DESCRIPTOR_DST_REF_TAG_SEED", "ins_app_tag_mask": "DIF_DESCRIPTOR_DST_APP_TAG_MASK",
        "ins_app_tag_seed": "DIF_DESCRIPTOR_DST_APP_TAG_SEED", "dest_ref_tag_seed": "DIF_DESCRIPTOR_DST_REF_TAG_SEED",
        "dest_app_tag_mask": "DIF_DESCRIPTOR_DST_APP_TAG_MASK", "dest_app_tag_seed": "DIF_DESCRIPTOR_DST_APP_TAG_SEED",
        "region_size": "TRANSLATION_FETCH_DESCRIPTOR_REGION_SIZE",
        "region_stride": "TRANSLATION_FETCH_DESCRIPTOR_REGION_STRIDE", "op_specific": "DESCRIPTOR_OP_SPECIFIC",
    },
    "dsa_completion_record": {
        "status": "COMPLETION_RECORD_STATUS", "result": "COMPLETION_RECORD_RESULT",
        "bytes_completed": "COMPLETION_RECORD_BYTES_COMPLETED", "fault_addr": "COMPLETION_RECORD_FAULT_ADDR",
        "delta_rec_size": "DELTA_RECORD_DELTA_REC_SIZE", "crc_val": "CRC_RECORD_CRC_VALUE",
        "dif_chk_ref_tag": "DIF_RECORD_SRC_REF_TAG", "dif_chk_app_tag_mask": "DIF_RECORD_SRC_APP_TAG_MASK",
        "dif_chk_app_tag": "DIF_RECORD_SRC_APP_TAG", "dif_ins_ref_tag": "DIF_RECORD_DST_REF_TAG",
        "dif_ins_app_tag_mask": "DIF_RECORD_DST_APP_TAG_MASK", "dif_ins_app_tag": "DIF_RECORD_DST_APP_TAG",
        "dif_upd_dest_ref_tag": "DIF_RECORD_DST_REF_TAG", "dif_upd_dest_app_tag": "DIF_RECORD_DST_APP_TAG",
        "op_specific": "COMPLETION_RECORD_OP_SPECIFIC",
    },
}  # fmt: skip
"""Member of the kernel's structure to our macro, less _OFFSET and _BYTES."""

DIFFERENCES = {
    "dsa_hw_desc.crc_seed size 4 8": "CRC64 (2.0) takes the upper half from the next four bytes, reserved there",
    "dsa_completion_record.delta_rec_size size 2 4": "older headers declare 16 bits; the device writes 32",
    "dsa_completion_record.crc_val size 2 8": "older headers declare 16 bits; the device writes 32, with CRC64 64",
    "dsa_completion_record.crc_val size 4 8": "headers without CRC64",
    "DSA_COMP_STATUS_MASK 127 63": "bit 6 is unused: the architecture's code is 5:0, the kernel masks the write bit only",
    "IDXD_SCMD_DEV_EVL_ERR 2150629376 2148663296": "intel's tools say 0x80300000, the kernel 0x80120000",
    "IDXD_OP_FLAG_DSTS missing": "destination steering ended with 1.x: reserved, so it has no name",
    "IDXD_SCMD_SOFTERR_MASK missing": "not a status: DriverStatus.number takes it off",
    "IDXD_SCMD_SOFTERR_SHIFT missing": "not a status: DriverStatus.number takes it off",
    **{
        f"IDXD_OP_FLAG_{name} missing": "of the analytics accelerator, not of DSA"
        for name in ("RD_SRC2_AECS", "RD_SRC2_2ND", "WR_SRC2_AECS_COMP", "WR_SRC2_AECS_OVFL", "SRC2_STS", "CRC_RFC3720")
    },
}
"""Everything in which a published version of the kernel's header differs from ours, with the reason."""

needs_kernel_header = pytest.mark.skipif(not KERNEL_HEADER.exists(), reason=f"no {KERNEL_HEADER} (linux-libc-dev)")


def comparison(kernel: str, ours: str) -> str:
    """A C program that prints one line for each difference between the two headers."""
    lines = []
    for name in sorted(set(re.findall(r"\b(?:DSA_OPCODE|DSA_COMP|IDXD_OP_FLAG|IDXD_SCMD)_\w+", kernel))):
        prefix = next(prefix for prefix in KERNEL_CODES if name.startswith(prefix))
        macro = "IDXDD_" + RENAMED.get(name, KERNEL_CODES[prefix] + name.removeprefix(prefix))
        same = re.search(rf"#define {macro} ", ours) is not None
        lines.append(f'code("{name}", {name}, {macro});' if same else f'puts("{name} missing");')
    for struct, members in KERNEL_FIELDS.items():
        for member, macro in members.items():
            if not re.search(rf"\b{member}\b", kernel):
                continue
            lines.append(f'place("{struct}.{member} offset", offsetof(struct {struct}, {member}), IDXDD_{macro}_OFFSET);')
            lines.append(f'place("{struct}.{member} size", sizeof(((struct {struct} *)0)->{member}), IDXDD_{macro}_BYTES);')
    lines.append('place("dsa_hw_desc", sizeof(struct dsa_hw_desc), sizeof(struct idxdd_hw_desc));')
    lines.append('place("dsa_completion_record", sizeof(struct dsa_completion_record), sizeof(struct idxdd_hw_record));')
    return "\n".join(
        [
            "#include <linux/idxd.h>",
            "#include <stdio.h>",
            '#include "idxdd/spec.h"',
            "static void place(const char *name, unsigned long theirs, unsigned long ours)",
            '{ if (theirs != ours) printf("%s %lu %lu\\n", name, theirs, ours); }',
            "static void code(const char *name, unsigned int theirs, unsigned int ours) { place(name, theirs, ours); }",
            "int main(void) {",
            *lines,
            "return 0; }",
        ]
    )


@needs_compiler
@needs_kernel_header
def test_kernel_header_says_the_same(tmp_path: Path) -> None:
    """Sizes, offsets and codes of the installed <linux/idxd.h>; each difference is listed above with its reason."""
    source = comparison(KERNEL_HEADER.read_text(), emit.TARGETS["header"][0].read_text())
    built = compile_c(source, tmp_path, "-Wall", "-Wno-sign-compare")
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([tmp_path / "test"], capture_output=True, text=True, timeout=10, check=True)
    assert [line for line in ran.stdout.splitlines() if line not in DIFFERENCES] == []
    assert source.count("code(") > 50
    assert source.count("place(") > 60


@needs_compiler
@needs_kernel_header
def test_comparison_with_the_kernel_finds_differences(tmp_path: Path) -> None:
    """A comparison that is blind would pass as well: it must see a moved field and a changed code."""
    ours = emit.header()
    changed = ours.replace("#define IDXDD_OPCODE_MEMMOVE 0x3u", "#define IDXDD_OPCODE_MEMMOVE 0x33u")
    changed = changed.replace(
        "#define IDXDD_CRC_RECORD_CRC_VALUE_OFFSET 0x10u", "#define IDXDD_CRC_RECORD_CRC_VALUE_OFFSET 0x14u"
    )
    source = comparison(KERNEL_HEADER.read_text(), changed).replace('#include "idxdd/spec.h"', changed)
    built = compile_c(source, tmp_path, "-Wno-sign-compare")
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([tmp_path / "test"], capture_output=True, text=True, timeout=10, check=True)
    assert {"DSA_OPCODE_MEMMOVE 3 51", "dsa_completion_record.crc_val offset 16 20"} <= set(ran.stdout.splitlines())
