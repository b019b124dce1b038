/* What the containers of the benchmark run: ends at once, or with any argument waits for a signal. */
#include <unistd.h>

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		pause();
	return 0;
}
