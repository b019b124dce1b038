/*
 * Runs commands and says what they cost.
 *
 *     once [-n COUNT] [-j] COMMAND [WORD ...] [';' COMMAND ...]
 *
 * The commands run one after the other; the command `wait` stands for waiting until no process is left, `stop` for
 * stopping the clock, whereas all other sums go on. All are repeated COUNT times, with every '@' in a word replaced by the number of the round; with -j the rounds run at the
 * same time. What they leave behind becomes our child, so nothing escapes the sums. One line goes to standard
 * output: wall time (ns), CPU time (us), page faults, peak memory of the largest process (KiB), bytes written,
 * commands that failed.
 *
 * This is C, small and static, because the peak memory of a process counts from before its execve: it can't be
 * seen below what the one who spawns it takes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int failures;
static long long stopped; /* when the clock was, if it was */

static void give_up(const char *what)
{
	perror(what);
	exit(2);
}

/* The words with their numbers put in; memory is never given back. */
static char **numbered(char **words, int count, int round)
{
	char **out = calloc(count + 1, sizeof *out);
	char number[16];
	snprintf(number, sizeof number, "%d", round);
	for (int i = 0; i < count; i++) {
		char *to = out[i] = malloc(strlen(words[i]) * sizeof number);
		for (const char *from = words[i]; *from; from++)
			to += sprintf(to, "%.*s", *from == '@' ? (int)sizeof number : 1, *from == '@' ? number : from);
		*to = 0;
	}
	return out;
}

/* As posix_spawn does it, but without a system call for each signal. */
static pid_t spawn(char **words)
{
	pid_t pid = vfork();
	if (!pid) {
		execve(words[0], words, environ);
		_exit(127);
	}
	if (pid < 0)
		give_up("vfork");
	return pid;
}

/* Waits for one process, or with -1 for all that are left. */
static void reap(pid_t wanted)
{
	int status;
	pid_t pid;
	while ((pid = wait4(wanted, &status, 0, NULL)) > 0 || errno == EINTR) {
		if (pid > 0 && wanted > 0) {
			failures += status != 0;
			return;
		}
	}
}

static long long now(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static void sequence(char **words, int count, int round)
{
	for (int start = 0, end; start < count; start = end + 1) {
		for (end = start; end < count && strcmp(words[end], ";"); end++)
			;
		if (!strcmp(words[start], "wait"))
			reap(-1);
		else if (!strcmp(words[start], "stop"))
			stopped = now();
		else
			reap(spawn(numbered(words + start, end - start, round)));
	}
}

/* What we and all that we have waited for wrote, by write(2). */
static unsigned long long written(void)
{
	unsigned long long bytes = 0;
	char line[128];
	FILE *file = fopen("/proc/self/io", "r");
	while (file && fgets(line, sizeof line, file))
		sscanf(line, "wchar: %llu", &bytes);
	if (file)
		fclose(file);
	return bytes;
}

int main(int argc, char **argv)
{
	int rounds = 1, together = 0, option;
	while ((option = getopt(argc, argv, "+n:j")) != -1) {
		if (option == 'n')
			rounds = atoi(optarg);
		else
			together = 1;
	}
	argv += optind;
	argc -= optind;
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
		give_up("become subreaper");
	unsigned long long before = written();
	pid_t *pids = calloc(rounds, sizeof *pids);
	long long start = now();
	for (int round = 0; round < rounds; round++) {
		if (together)
			pids[round] = spawn(numbered(argv, argc, round));
		else
			sequence(argv, argc, round);
	}
	for (int round = 0; together && round < rounds; round++)
		reap(pids[round]);
	long long wall = (stopped ? stopped : now()) - start;
	struct rusage used;
	getrusage(RUSAGE_CHILDREN, &used);
	long long cpu = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000LL + used.ru_utime.tv_usec +
			used.ru_stime.tv_usec;
	printf("\n%lld %lld %ld %ld %llu %d\n", wall, cpu, used.ru_minflt + used.ru_majflt, used.ru_maxrss,
	       written() - before, failures);
	return 0;
}
