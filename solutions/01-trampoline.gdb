# run.sh --kernel --shard shards/hello-c
# Finds the instruction that jumps into the higher half, and what the tables say about its target.
set trust-readonly-sections on
python
code = gdb.execute("x/90i &_start", to_string=True)
jump = next(line for line in code.split("\n") if "lret" in line or "retf" in line)
gdb.execute("hbreak *" + jump.replace("=>", "").split()[0].rstrip(":"))
gdb.execute("continue")
gdb.execute("stepi")
pc = int(gdb.parse_and_eval("(unsigned long)$pc"))
label = "higher_half"  # what `info line *$pc` leads to in boot.asm
if pc == int(gdb.parse_and_eval("(unsigned long)&" + label)):
    print("answer symbol: " + label)
memory = gdb.selected_inferior()
table, names = 0x400000, ["PML4", "PDPT", "PD", "PT"]
for level, name in zip((3, 2, 1, 0), names):
    index = pc >> (12 + 9 * level) & 511
    entry = int.from_bytes(memory.read_memory(table + 8 * index, 8).tobytes(), "little")
    if not entry & 1:
        print("answer level: %s\nanswer table: %#x\nanswer index: %d" % (name, table, index))
        break
    table = entry & 0xFFFFFFFFFF000
end
kill
