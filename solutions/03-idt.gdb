# run.sh --kernel --shard shards/hello-c
# The array is full, the register is empty. The first interrupt that is let in is the timer's.
hbreak supervisor_run
continue
python
import re
registers = gdb.execute("monitor info registers", to_string=True)
print("answer limit: 0x" + re.search(r"IDT= *[0-9a-f]+ ([0-9a-f]+)", registers).group(1))
gates = sum(int(gdb.parse_and_eval("idt[%d].flags" % i)) >> 15 for i in range(256))
print("answer gates: %d" % gates)
end
monitor log int
monitor logfile build/int.log
python
try:
    gdb.execute("continue")
except gdb.error:
    pass  # the machine is gone
with open("build/int.log") as log:
    print("answer vector: %d" % int(re.search(r"hardware INT=0x([0-9a-f]+)", log.read()).group(1), 16))
end
