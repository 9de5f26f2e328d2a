; guard.asm: see guard.inc.
%include "tests/attacks/guard.inc"
