"""plain: the kernel without what stands apart for speed, the fast path of CALL and what is known of a shard's memory,
passes what the kernel passes. What it does call by call, ipc.fast_path, spec.plain and spec.same compare.

Read next: call.c, tests/experiments.h.
"""

import test_attacks
import test_calls
import test_ipc


class Plain(test_attacks.Recorder):
    """Stands in for the test: boots the plain kernel, and takes the rows instead of reporting them."""

    def __init__(self, test):
        super().__init__(test)
        self.plain = test.variant("plain", PLAIN="1")

    def guest(self, *arguments, **options):
        return self.test.guest(*arguments, **dict(options, build=options.get("build") or self.plain))

    def start_guest(self, *arguments, **options):
        return self.test.start_guest(*arguments, **dict(options, build=options.get("build") or self.plain))


def run(t, sample, rest):
    """Runs tests on the plain kernel: the sample, and in --full the rest."""
    plain = Plain(t)
    done = sample + (rest if t.full else [])
    for test in done:
        test(plain)
    problems = ["%s: %s" % row for row in plain.found.items() if row[1]]
    t.check(not problems, "\n".join(problems))
    t.note("%d tests, %d rows" % (len(done), len(plain.found)))


def test_messages(t):
    """It passes the tests of ipc."""
    run(t, [test_ipc.test_channels, test_ipc.test_capabilities], [test_ipc.test_integrity])


def test_system_calls(t):
    """It passes the tests of calls."""
    run(t, [test_calls.test_pointers, test_calls.test_memory, test_calls.test_file_mappings],
        [test_calls.test_numbers, test_calls.test_files, test_calls.test_damaged_files, test_calls.test_pledges,
         test_calls.test_nomem, test_calls.test_spawn])


def test_attacks_on_it(t):
    """It passes the attacks on calls, channels, quotas and memory."""
    run(t, [test_attacks.test_calls, test_attacks.test_channels],
        [test_attacks.test_exceptions, test_attacks.test_state, test_attacks.test_console, test_attacks.test_exhaustion,
         test_attacks.test_cycles, test_attacks.test_residue])
