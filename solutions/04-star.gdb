# run.sh --kernel --shard shards/llama-inference
# Ring 3 before and after its first system call; then the selector that iretq could not load.
thbreak *0x1000
continue
printf "answer cs_before: 0x%x\n", $cs
hbreak interrupt_dispatch if (frame->cs & 3) && current->usage.syscalls
continue
printf "answer cs_after: 0x%x\n", frame->cs
python
gdb.execute("delete")
gdb.execute("hbreak fault_panic")
gdb.execute("continue")
error = int(gdb.parse_and_eval("(unsigned long)frame->error"))
print("answer error: %#x" % error)
entry = int(gdb.parse_and_eval("(unsigned long)gdt[%d]" % (error >> 3)))
print("answer descriptor: %s" % ("code" if entry >> 43 & 3 == 3 else "data" if entry >> 43 & 3 == 2 else "TSS"))
end
kill
