# run.sh --kernel --shard shards/hello-c
# Stops where the panic begins. The page fault left its address in cr2; the handler of the double fault runs on an IST stack.
hbreak fault_panic
continue
python
number = lambda text: int(gdb.parse_and_eval("(unsigned long)(%s)" % text))
base, slot = 0xFFFFFFFFA0000000, 0x4000
print("answer vector: %d" % number("frame->vector"))
faulted = (number("$cr2") - base) // slot
print("answer slot: %d" % faulted)
mapped = gdb.selected_inferior()
try:
    mapped.read_memory(number("$cr2"), 8)
except gdb.MemoryError:
    print("answer first_vector: 14")
print("answer ist: %d" % ((number("$rsp") - base) // slot - number("STACK_IST")))
end
kill
