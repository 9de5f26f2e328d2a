/* clock: ends when 20 ms have passed by TIME: never, where the time stands still. */
#include "../expect.h"

int main(const char *args) {
	(void)args;
	busy_wait(20);
	return 0;
}
