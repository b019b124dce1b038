/*
 * The kernel's own share of running one container: what is left when no configuration is read, nothing is checked
 * and nothing is remembered.
 *
 *     floor [-m BYTES] [-p] ROOTFS PROGRAM [WORD ...]
 *
 * It asks the kernel, in the plainest way there is, for what the benchmark's default config.json asks a runtime for:
 * a control group in every hierarchy, with the list of devices; the namespaces; seven mounts; devices and links; the
 * change of root; masked and read-only paths; host name, limit, capabilities; the program; and removal at the end.
 * It does not mount the hierarchies inside the container. -m sets a limit of memory, -p prints the largest charge.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH(list) (sizeof(list) / sizeof *(list))
#define TOP "/sys/fs/cgroup"

static const char *const hierarchies[] = {
	"/cpu", "/cpuacct", "/cpuset", "/memory", "/devices", "/freezer", "/blkio", "/pids", "/hugetlb", "/systemd",
	"/unified", "",
};
static int exists[LENGTH(hierarchies)];

static void must(int result, const char *what)
{
	if (result >= 0)
		return;
	dprintf(2, "floor: %s: %s\n", what, strerror(errno));
	_exit(125);
}

/* A path in our control group of a hierarchy. */
static const char *at(const char *hierarchy, const char *file)
{
	static char path[256];
	snprintf(path, sizeof path, TOP "%s/floor-%d%s", hierarchy, getpid(), file);
	return path;
}

static ssize_t get(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);
	if (fd >= 0)
		close(fd);
	text[length < 0 ? 0 : length] = 0;
	return length;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	must(fd, path);
	must(write(fd, text, strlen(text)), path);
	close(fd);
}

static void make_groups(const char *limit)
{
	static const char *const devices[] = {
		"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm",
		"c 5:2 rwm", "c 136:* rwm",
	};
	char text[256], from[64];
	for (size_t i = 0; i < LENGTH(hierarchies); i++) {
		const char *here = hierarchies[i];
		snprintf(from, sizeof from, TOP "%s/cgroup.procs", here);
		exists[i] = !access(from, F_OK) && !mkdir(at(here, ""), 0755);
		if (!exists[i])
			continue;
		if (!strcmp(here, "/cpuset")) {
			for (int which = 0; which < 2; which++) {
				const char *file = which ? "/cpuset.mems" : "/cpuset.cpus";
				snprintf(from, sizeof from, TOP "/cpuset%s", file);
				must(get(from, text, sizeof text), from);
				put(at(here, file), text);
			}
		} else if (!strcmp(here, "/devices")) {
			put(at(here, "/devices.deny"), "a");
			for (size_t rule = 0; rule < LENGTH(devices); rule++)
				put(at(here, "/devices.allow"), devices[rule]);
		} else if (!strcmp(here, "/memory") && limit) {
			put(at(here, "/memory.limit_in_bytes"), limit);
		}
	}
}

static void remove_groups(void)
{
	for (size_t i = 0; i < LENGTH(hierarchies); i++)
		while (exists[i] && rmdir(at(hierarchies[i], "")) && errno == EBUSY)
			usleep(100);
}

static void mount_all(void)
{
	static const struct {
		const char *kind, *place, *options;
		unsigned long flags;
	} mounts[] = {
		{"proc", "proc", NULL, 0},
		{"tmpfs", "dev", "mode=755,size=65536k", MS_NOSUID | MS_STRICTATIME},
		{"devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5", MS_NOSUID | MS_NOEXEC},
		{"tmpfs", "dev/shm", "mode=1777,size=65536k", MS_NOSUID | MS_NOEXEC | MS_NODEV},
		{"mqueue", "dev/mqueue", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV},
		{"sysfs", "sys", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY},
		{"tmpfs", "sys/fs/cgroup", "mode=755", MS_NOSUID | MS_NOEXEC | MS_NODEV},
	};
	for (size_t i = 0; i < LENGTH(mounts); i++) {
		mkdir(mounts[i].place, 0755);
		must(mount(mounts[i].kind, mounts[i].place, mounts[i].kind, mounts[i].flags, mounts[i].options), mounts[i].place);
	}
}

static void make_devices(void)
{
	static const struct {
		const char *path;
		int major, minor;
	} nodes[] = {{"dev/null", 1, 3},   {"dev/zero", 1, 5},    {"dev/full", 1, 7},
		     {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
	static const char *const links[][2] = {{"/proc/self/fd", "dev/fd"},
					       {"/proc/self/fd/0", "dev/stdin"},
					       {"/proc/self/fd/1", "dev/stdout"},
					       {"/proc/self/fd/2", "dev/stderr"},
					       {"pts/ptmx", "dev/ptmx"}};
	umask(0);
	for (size_t i = 0; i < LENGTH(nodes); i++)
		must(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].path);
	umask(022);
	for (size_t i = 0; i < LENGTH(links); i++)
		must(symlink(links[i][0], links[i][1]), links[i][1]);
}

static void protect(void)
{
	static const char *const masked[] = {"proc/acpi",         "proc/asound",     "proc/kcore",       "proc/keys",
					     "proc/latency_stats", "proc/timer_list", "proc/timer_stats", "proc/sched_debug",
					     "sys/firmware",      "proc/scsi"};
	static const char *const fixed[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
	for (size_t i = 0; i < LENGTH(masked); i++)
		if (mount("dev/null", masked[i], NULL, MS_BIND, NULL) && errno == ENOTDIR)
			must(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, NULL), masked[i]);
	for (size_t i = 0; i < LENGTH(fixed); i++)
		if (!mount(fixed[i], fixed[i], NULL, MS_BIND | MS_REC, NULL))
			must(mount(NULL, fixed[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), fixed[i]);
}

static void give_up_power(void)
{
	const unsigned keep = 1u << CAP_AUDIT_WRITE | 1u << CAP_KILL | 1u << CAP_NET_BIND_SERVICE;
	const struct rlimit files = {1024, 1024};
	must(setrlimit(RLIMIT_NOFILE, &files), "limit of files");
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (cap > 31 || !(keep >> cap & 1))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	const struct __user_cap_data_struct sets[2] = {{keep, keep, 0}};
	must(syscall(SYS_capset, &header, sets), "capset");
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
}

static void become_container(const char *rootfs, char **words)
{
	static char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", NULL};
	must(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "keep mounts to ourselves");
	must(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), rootfs);
	must(chdir(rootfs), rootfs);
	mount_all();
	make_devices();
	protect();
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", MNT_DETACH), "leave the host");
	must(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), "read-only root");
	must(chdir("/"), "/");
	must(sethostname("floor", 5), "host name");
	give_up_power();
	execve(words[0], words, environment);
	must(-1, words[0]);
}

int main(int argc, char **argv)
{
	const char *limit = NULL;
	int print = 0, option, go[2], status;
	char text[64];
	while ((option = getopt(argc, argv, "+m:p")) != -1) {
		if (option == 'm')
			limit = optarg;
		else
			print = 1;
	}
	if (argc - optind < 2) {
		dprintf(2, "usage: floor [-m BYTES] [-p] ROOTFS PROGRAM [WORD ...]\n");
		return 125;
	}
	must(pipe2(go, O_CLOEXEC), "pipe");
	make_groups(limit);
	struct clone_args how = {
		.flags = (unsigned long)(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) |
			 CLONE_NEWCGROUP,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = syscall(SYS_clone3, &how, sizeof how);
	must(pid, "clone");
	if (!pid) {
		close(go[1]);
		if (read(go[0], text, 1) == 1)
			become_container(argv[optind], argv + optind + 1);
		_exit(125);
	}
	snprintf(text, sizeof text, "%d", pid);
	for (size_t i = 0; i < LENGTH(hierarchies); i++)
		if (exists[i])
			put(at(hierarchies[i], "/cgroup.procs"), text);
	must(write(go[1], "", 1), "go");
	must(waitpid(pid, &status, 0), "wait");
	if (print && get(at("/memory", "/memory.max_usage_in_bytes"), text, sizeof text) > 0)
		dprintf(1, "%s", text);
	remove_groups();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
