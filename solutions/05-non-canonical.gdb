# run.sh --kernel --shard shards/hello-c --shard shards/hello-c
# Shard 0 enters; the frame of shard 1 is not canonical. QEMU raises the fault at the target, a processor at the iretq.
hbreak fault_kill
continue
printf "answer vector: %d\n", frame->vector
printf "answer rip: 0x%lx\n", frame->rip
printf "answer ring: %d\n", frame->cs & 3
python
if "iretq" in gdb.execute("x/40i interrupt_return", to_string=True):
    print("answer instruction: iretq")
end
kill
