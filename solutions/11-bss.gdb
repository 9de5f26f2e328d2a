# run.sh --kernel --manifest labs/11-bss/pair.conf
# Behind the code lies nothing that the kernel has mapped for writing.
add-symbol-file build/debug/shards/counter.elf
python
from diagnosis import *
stop_at_fault()
answer("page", number("$cr2") & ~0xFFF)
words = gdb.execute("info symbol $cr2", to_string=True).split()
answer("variable", words[0])
answer("section", words[words.index("section") + 1])
end
kill
