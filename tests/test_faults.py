"""Exceptions of ring 3: each kills its shard, is explained on the console, and harms nobody else.

Read next: tests/shards/faults/main.c, which raises them; fault.c.
"""

import re

UD, GP, PF = 6, 13, 14
# What each case of the shard `faults` raises. A set where QEMU and the manuals
# differ: QEMU pops the frames of IRET and far RET with the kernel's rights, which SMAP forbids, and has #GP for XSETBV.
CASES = {
    "divide": 0, "idiv_overflow": 0, "x87": 16, "unaligned": GP, "unaligned_sum": GP, "single_step": 1, "ud2": UD,
    "lock_nop": UD, "rdfsbase": UD, "wrgsbase": UD, "stac": UD, "clac": UD, "monitor": UD, "mwait": UD, "xgetbv": UD,
    "xsetbv": {UD, GP}, "xsave": UD, "rdpkru": UD, "vmcall": UD, "vmmcall": UD, "vmrun": UD, "clgi": UD, "rsm": UD,
    "into": UD, "avx": UD, "avx512": UD, "amx": UD, "icebp": {1, UD}, "hlt": GP, "cli": GP, "sti": GP, "in": GP,
    "out": GP, "outs": GP, "read_cr0": GP, "read_cr2": GP, "read_cr3": GP, "write_cr0": GP, "write_cr3": GP,
    "write_cr4": GP, "write_cr8": GP, "read_dr0": GP, "write_dr7": GP, "rdmsr": GP, "wrmsr": GP, "rdtsc": GP,
    "rdtscp": GP, "rdpmc": GP, "sgdt": GP, "sidt": GP, "sldt": GP, "str": GP, "smsw": GP, "lgdt": GP, "lidt": GP,
    "lldt": GP, "ltr": GP, "lmsw": GP, "clts": GP, "invlpg": GP, "invd": GP, "wbinvd": GP, "swapgs": GP, "sysret": GP,
    "sysexit": {UD, GP}, "sysenter": {UD, GP}, "int3": GP, "far_jump_null": GP, "far_jump_local": GP, "ss_kernel": GP,
    "ss_null": GP, "ss_beyond": GP, "ds_tss": GP, "ds_kernel": GP, "es_beyond": GP, "gs_ldt": GP,
    "iret_ring0": {PF, GP}, "far_return": {PF, GP}, "far_jump_08": GP, "far_jump_10": GP, "far_jump_1b": GP,
    "far_jump_28": GP, "far_jump_30": GP, "far_call_08": GP, "far_call_28": GP, "read_null": PF, "write_null": PF,
    "read_kernel": PF, "write_kernel": PF, "read_hhdm": PF, "read_device": PF, "write_code": PF, "read_unmapped": PF,
    "overflow": PF, "non_canonical_read": GP, "non_canonical_push": {12, GP}, "overlong": GP, "write_bss_small": PF,
    "own_stack": PF, "rsp_low": PF, "run_heap": PF, "run_stack": PF, "run_kernel": PF, "run_nothing": PF,
    "run_null": PF, "run_non_canonical": GP,
}
# Where a jump ends up.
TARGETS = {"run_heap": 0x100000, "run_stack": 0x7FF000, "run_kernel": 0xFFFFFFFF80201000, "run_nothing": 0x600000,
           "run_null": 0}

# The likely cause of each case, its beginning at least.
NULL, NULL_CALL = "a NULL pointer, or a field or element of one", "a call of a NULL function pointer"
STACK = "the stack is one page, and it overflowed"
NOWHERE, NO_JUMP = "nothing is mapped there: a stray pointer, or memory", "a jump to where nothing is mapped"
BEHIND = "a write behind the code: a shard has no .data or .bss"
PAGE = "a configuration page that the manifest gives to other"
KERNEL, KERNEL_JUMP = "the address belongs to the supervisor", "a jump into the supervisor"
DATA, BEYOND = "a jump into data: the page is not executable", "no shard has memory beyond 512 GiB"
SELECTOR, CANONICAL = "a selector that ring 3 may not use", "a non-canonical address, or an SSE operand"
PORTS, UMIP, TSD = "ring 3 has no ports", "CR4.UMIP", "CR4.TSD"
VIRTUAL, MONITOR = "virtual machines, enclaves or protection keys", "monitor, mwait, clac or stac: only ring 0 may"
PROCESSOR = "the processor's own access"  # QEMU's, where it differs from the manuals: see CASES
CAUSES = {
    "divide": "a division by zero", "idiv_overflow": "a division by zero, or a quotient that does not fit",
    "x87": "an unmasked floating-point", "unaligned": CANONICAL, "unaligned_sum": CANONICAL,
    "single_step": "the trap flag", "ud2": "ud2: ", "lock_nop": "an instruction that this CPU does not have",
    "rdfsbase": "rdfsbase and its kin: the kernel does not enable (CR4.FSGSBASE)",
    "wrgsbase": "rdfsbase and its kin", "stac": MONITOR, "clac": MONITOR,
    "monitor": MONITOR, "mwait": MONITOR, "xgetbv": "xgetbv or xsetbv",
    "xsetbv": "xgetbv or xsetbv", "xsave": "xsave: the kernel does not enable (CR4.OSXSAVE)",
    "rdpkru": VIRTUAL, "vmcall": VIRTUAL, "vmmcall": VIRTUAL, "vmrun": VIRTUAL, "clgi": VIRTUAL,
    "rsm": "rsm: ", "into": "into: ", "avx": "AVX or AMX: the kernel does not enable", "avx512": "AVX-512: ",
    "amx": "AVX or AMX", "icebp": {"icebp: ", "a debug instruction ran"}, "hlt": "hlt: only ring 0 may; use YIELD",
    "cli": "cli or sti: only ring 0 may (IOPL is 0)", "sti": "cli or sti", "in": PORTS, "out": PORTS, "outs": PORTS,
    "read_cr0": "control and debug registers: only ring 0", "read_cr2": "control and debug",
    "read_cr3": "control and debug", "write_cr0": "control and debug", "write_cr3": "control and debug",
    "write_cr4": "control and debug", "write_cr8": "control and debug", "read_dr0": "control and debug",
    "write_dr7": "control and debug", "rdmsr": "rdmsr: only ring 0 may", "wrmsr": "wrmsr: only ring 0 may",
    "rdtsc": TSD, "rdtscp": TSD, "rdpmc": "rdpmc: CR4.PCE is 0", "sgdt": UMIP, "sidt": UMIP,
    "sldt": UMIP, "str": UMIP, "smsw": UMIP, "lgdt": "lgdt or lidt: only", "lidt": "lgdt or lidt: only",
    "lldt": "lldt or ltr: only", "ltr": "lldt or ltr: only", "lmsw": "lmsw: only",
    "clts": "clts, sysret, invd or wbinvd: only", "invlpg": "invlpg: only", "invd": "clts, sysret, invd",
    "wbinvd": "clts, sysret, invd or wbinvd", "swapgs": "swapgs: only", "sysret": "clts, sysret",
    "sysexit": "sysenter or sysexit: ", "sysenter": "sysenter or sysexit: ", "int3": "a breakpoint instruction",
    "far_jump_null": CANONICAL, "far_jump_local": "a selector of a local descriptor table", "ss_kernel": SELECTOR,
    "ss_null": "a selector that this segment cannot have", "ss_beyond": SELECTOR, "ds_tss": SELECTOR,
    "ds_kernel": SELECTOR, "es_beyond": SELECTOR, "gs_ldt": "a selector of a local descriptor table",
    "iret_ring0": {PROCESSOR, SELECTOR}, "far_return": {PROCESSOR, SELECTOR}, "far_jump_08": SELECTOR,
    "far_jump_10": SELECTOR, "far_jump_1b": SELECTOR, "far_jump_28": SELECTOR, "far_jump_30": SELECTOR,
    "far_call_08": SELECTOR, "far_call_28": SELECTOR, "read_null": NULL, "write_null": NULL, "read_kernel": KERNEL,
    "write_kernel": KERNEL, "read_hhdm": KERNEL, "read_device": KERNEL,
    "write_code": "a write to its code or constants", "read_unmapped": NOWHERE,
    "overflow": STACK, "non_canonical_read": CANONICAL, "non_canonical_push": {"a stack pointer outside", CANONICAL},
    "overlong": "an instruction of more than 15 bytes",
    "write_bss_small": "a write behind the code, in its last page", "own_stack": NOWHERE, "rsp_low": STACK,
    "run_heap": DATA, "run_stack": DATA, "run_kernel": KERNEL_JUMP, "run_nothing": NO_JUMP,
    "run_null": NULL_CALL, "run_non_canonical": CANONICAL,
}
# Arrays on the stack, and reads, writes and jumps all over the map (MEMORY_MAP.md).
PLACES = {"array_%d" % kib: STACK for kib in (4, 5, 8, 16, 32, 64, 9000)}
for _address, _read, _write, _jump in (
        (0xFF8, NULL, NULL, NULL_CALL), (0xFFFFFFFFFFFFFFF8, NULL, NULL, NULL_CALL),
        (0x4000, PAGE, BEHIND, NO_JUMP),
        (0x10008, PAGE, BEHIND, NO_JUMP),
        (0x20000, "a read behind the code: a shard has no .data or .bss", BEHIND, NO_JUMP),
        (0xFFFF8, "a read behind", BEHIND, NO_JUMP),
        (0x101000, NOWHERE, NOWHERE, NO_JUMP), (0x7FD000, NOWHERE, NOWHERE, NO_JUMP), (0x7FE008, STACK, STACK, STACK),
        (0x800008, "beyond the top of the stack", "beyond the top of the stack", NO_JUMP),
        (0x900000, NOWHERE, NOWHERE, NO_JUMP),
        (0x3FFFF000, NOWHERE, NOWHERE, NO_JUMP), (0x50000000, NOWHERE, NOWHERE, NO_JUMP),
        (0x7FFFFFF000, NOWHERE, NOWHERE, NO_JUMP),
        (0x8000000000, BEYOND, BEYOND, BEYOND), (0x7FFFFFFFF000, BEYOND, BEYOND, BEYOND),
        (0x800000000000, CANONICAL, CANONICAL, CANONICAL),
        (0xFFFF800000400000, KERNEL, KERNEL, KERNEL_JUMP), (0xFFFFFFFF80200000, KERNEL, KERNEL, KERNEL_JUMP),
        (0xFFFFFFFFA0000000, KERNEL, KERNEL, KERNEL_JUMP), (0xFFFFFFFFC0000000, KERNEL, KERNEL, KERNEL_JUMP)):
    PLACES.update({"read %x" % _address: _read, "write %x" % _address: _write, "jump %x" % _address: _jump})
PLACES.update({"write 1000": "a write to its code or constants", "jump 7ff000": DATA, "jump 100000": DATA,
               "jump 40000000": DATA, "write 40000000": "a write to a file mapping, which is read-only"})
# What the kernel has done wrong in the entry of a page (PROVOKE_entry), with the error code that it leads to. For a
# reserved bit QEMU leaves bit 0 of the code clear, which the manual sets.
RESERVED, OWN = "the kernel has set a reserved bit", "the kernel has mapped that page for itself"
ENTRIES = {
    "bits 8000000000000 r": (0xC, RESERVED), "bits 8000000000000 w": (0xE, RESERVED),
    "bits 8000000000000 x": (0x1C, RESERVED), "bits 4 r": (0x5, OWN), "bits 4 w": (0x7, OWN), "bits 4 x": (0x15, OWN),
    "bits 1 r": (0x4, NOWHERE), "bits 1 w": (0x6, NOWHERE), "bits 1 x": (0x14, NO_JUMP),
    "bits 0 w": (0x7, "a write to a file mapping"), "bits 0 x": (0x15, DATA),
}
KILLED = re.compile(r"^Shard \d+ \((\S+)\) killed: .*?vector (\d+)\)?,? at rip (0x[0-9a-f]+)", re.M)


def labels(t):
    """Returns the addresses of the faulting instructions, by name."""
    elf = t.shard("faults")[:-len(".bin")] + ".elf"
    table = t.sh(["nm", elf], expect=0).stdout
    found = {name: int(address, 16) for address, name in re.findall(r"^(\w+) \w fault_(\w+)$", table, re.M)}
    found["interrupts"] = int(re.search(r"^(\w+) \w interrupts$", table, re.M).group(1), 16)
    return found


def run(t, names, **options):
    """Boots the cases in groups, each with a sibling that must finish. Returns {name: (vector, rip, explanation)}."""
    seen = {}
    names = list(names)
    for first in range(0, len(names), 62):
        group = names[first:first + 62]
        lines = ['shard fine0 /t/faults args="fine" priority=high']
        lines += ['shard %s /t/faults args="%s"' % (name.replace(" ", "-"), name) for name in group]
        lines += ['shard fine1 /t/faults args="fine"']
        result = t.guest("\n".join(lines), expect=1, **options)
        endings = result.endings()
        t.equal((endings.get("fine0"), endings.get("fine1")), (0, 0), "ends of the siblings")
        for name in group:
            t.equal(endings.get(name.replace(" ", "-")), "killed", "end of the shard `%s`" % name)
        for match in KILLED.finditer(result.text):
            rest = result.text[match.start():].split("\n")[:2]
            t.check(rest[1].startswith("  Likely cause: "), "no likely cause below: " + rest[0])
            seen[match.group(1)] = (int(match.group(2)), int(match.group(3), 16), " ".join(rest))
    return seen


def check_cause(t, name, seen, expected):
    """Compares the words of a likely cause; `expected` is some of them, or a set of those that can be right."""
    told = seen[name.replace(" ", "-")][2]
    cause = told.split("  Likely cause: ")[-1]
    wanted = expected if isinstance(expected, set) else {expected}
    t.check(any(words in cause for words in wanted), "%s: none of %s in: %s" % (name, wanted, told))


def test_exceptions(t):
    """An exception of ring 3 kills its shard and no other, with vector, rip and likely cause on the console."""
    address = labels(t)
    seen = run(t, CASES)
    for name, expected in CASES.items():
        t.check(name in seen, "%s: nothing on the console says why it was killed" % name)
        vector, rip, words = seen[name]
        t.check(vector in (expected if isinstance(expected, set) else {expected}),
                "%s: vector %d: %s" % (name, vector, words))
        wanted = TARGETS.get(name, address.get(name))
        if name in ("single_step", "icebp", "x87"):
            t.check(wanted - 1 <= rip <= wanted + 1, "%s: rip 0x%x, expected 0x%x" % (name, rip, wanted))
        elif name != "run_non_canonical":
            t.equal(hex(rip), hex(wanted), name + ": rip")
    for name in CASES:
        check_cause(t, name, seen, CAUSES[name])


def test_places(t):
    """Arrays on the stack, and reads, writes and jumps in every region of the map, with the likely cause in words."""
    seen = run(t, PLACES)
    for name, cause in PLACES.items():
        t.check(name.replace(" ", "-") in seen, "%s: nothing on the console says why it was killed" % name)
        check_cause(t, name, seen, cause)


def test_configuration(t):
    """What only some shards have mapped: configuration pages, and the registers of the GPU."""
    result = t.guest("""
shard stage0 /t/faults args="write 10004"
shard stage1 /t/faults args="write 10000"
shard gpu0 /t/faults args="write 4000"
shard gpu1 /t/faults args="registers"
channel stage0 stage1
pipeline stage0 stage1 layers=0-0,1-1
gpu gpu0
gpu gpu1""".lstrip(), expect=1)
    page, registers = "a write to its configuration page, which is read-only", "a write to the GPU's registers"
    for name, cause in (("stage0", page), ("stage1", page), ("gpu0", page), ("gpu1", registers)):
        found = re.search(r"^Shard \d+ \(%s\) killed: .*\n  Likely cause: (.*)$" % name, result.text, re.M)
        t.check(found and found.group(1).startswith(cause), "%s: %s" % (name, found and found.group(0)))


def test_entries(t):
    """Wrong bits in a page-table entry are named as the kernel's mistake."""
    seen = run(t, ENTRIES, build=t.variant("provoke-entry", PROVOKE="PROVOKE_entry"))
    for name, (error, cause) in ENTRIES.items():
        told = seen[name.replace(" ", "-")][2]
        codes = {error, error | 1} if cause == RESERVED else {error}
        t.check(any("(error 0x%x)" % code in told for code in codes), "%s: %s" % (name, told))
        check_cause(t, name, seen, cause)


def test_elf_file(t):
    """An ELF file as a shard's program is refused by name before it runs."""
    elf = t.shard("faults")[:-len(".bin")] + ".elf"
    result = t.guest("shard e /elf\nshard ok /t/ok", {"/elf": elf}, expect=1)
    t.check("Shard 0 (e) cannot start from /elf: it is an ELF file" in result.text,
            "the ELF file was not refused by name")
    t.equal(result.endings(), {"ok": 0}, "ends")


def test_local_descriptor_table(t):
    """A shard cannot make segment descriptors of its own, also on a CPU without SMEP and SMAP."""
    for case in ("ldt_gate", "gs_ldt"):
        result = t.guest('shard a /t/faults args="%s"' % case, options=["-cpu", "max,la57=off,smap=off,smep=off"])
        t.equal((result.status, result.endings().get("a")), (1, "killed"), case + ": exit status and end")
        t.check("general protection fault (#GP), vector 13" in result.text, case + ": not refused by the CPU's tables")


def test_interrupts(t):
    """`int n` kills its shard with a #GP for each of the 256 values of n."""
    address = labels(t)["interrupts"]
    seen = run(t, ["int %d" % n for n in range(256)])
    for n in range(256):
        vector, rip, words = seen["int-%d" % n]
        t.check(vector == GP and rip == address + 4 * n, "int %d: %s" % (n, words))
        check_cause(t, "int %d" % n, seen, "an `int` instruction: no gate")


test_interrupts.heavy = True
