/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory pressure, and where the system and the module say what came of it:
 * reclaim by hand, control groups, debugfs. Includes nothing that only one of
 * the drivers has.
 */
#ifndef RUST_IPC_SELFTESTS_MEMORY_H
#define RUST_IPC_SELFTESTS_MEMORY_H

#include <dirent.h>

#include "ipc.h"

#define DEBUGFS "/sys/kernel/debug"
#define CGROUPS "/sys/fs/cgroup"

/* Has the kernel give back what it keeps only because it can get it again. 0, or -errno. */
static inline long try_drop_caches(void)
{
	static bool quiet;

	/* Once for all, that it does not log each time. */
	if (!quiet)
		quiet = !write_text("/proc/sys/vm/drop_caches", "4");
	return write_text("/proc/sys/vm/drop_caches", "2");
}

static inline void drop_caches(void)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, try_drop_caches());
}

/* A number in a file, or after a word in a file of several lines. -1 if there is none. */
static inline long read_number(const char *path, const char *word)
{
	char text[16384], *at = text;

	if (read_text(path, text, sizeof(text)) < 0)
		return -1;
	if (word) {
		size_t len = strlen(word);

		for (at = text; at && (strncmp(at, word, len) || at[len] != ' ');) {
			at = strchr(at, '\n');
			at = at ? at + 1 : NULL;
		}
		if (!at)
			return -1;
		at += len;
	}
	return strtol(at, NULL, 10);
}

/* ---- control groups ------------------------------------------------------ */

static char groups[8][160];

/* Removes it if nobody is in it. */
static inline bool remove_group(const char *group)
{
	char *path = (char *)group;

	if (rmdir(path))
		return false;
	path[0] = 0;
	return true;
}

static inline void remove_groups(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(groups); i++)
		if (groups[i][0])
			eventually(remove_group(groups[i]));
}

/* A control group of its own, at the top, removed with the test. */
static inline const char *make_group(const char *name)
{
	struct __test_metadata *_metadata = this_test;
	char *path = NULL;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(groups) && !path; i++)
		if (!groups[i][0])
			path = groups[i];
	ASSERT_NE(NULL, path);
	at_teardown = remove_groups;
	snprintf(path, sizeof(groups[0]), CGROUPS "/rust_ipc-%s-%d", name, getpid());
	ASSERT_EQ(0, mkdir(path, 0755)) {
		TH_LOG("%s: %s (is cgroup v2 mounted, and the memory controller on?)", path,
		       strerror(errno));
	}
	return path;
}

static inline char *group_file(const char *group, const char *file)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", group, file);
	return path;
}

static inline void set_group(const char *group, const char *file, const char *value)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, write_text(group_file(group, file), value)) {
		TH_LOG("%s/%s", group, file);
	}
}

static inline long group_number(const char *group, const char *file, const char *word)
{
	return read_number(group_file(group, file), word);
}

static inline void enter_group(struct peer *p, const char *group)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", p->pid);
	set_group(group, "cgroup.procs", pid);
}

/* ---- the module's own --------------------------------------------------------- */

/* What became of pages: the counters in debugfs. */
static inline long counter(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), DEBUGFS "/rust_ipc/reclaim/%s", name);
	return read_number(path, NULL);
}

/* How many processes, threads, nodes, … the driver has, all of them together. */
static inline long objects_alive(void)
{
	struct __test_metadata *_metadata = this_test;
	char text[4096], *at = text;
	long sum = 0;

	ASSERT_LT(0, read_text(DEBUGFS "/rust_ipc/stats", text, sizeof(text)));
	while ((at = strstr(at, ": alive ")))
		sum += strtol(at += strlen(": alive "), NULL, 10);
	return sum;
}

/* A file of the module's shrinker in debugfs; NULL if it has none. */
static inline const char *shrinker_file(const char *file)
{
	static char path[512];
	const char *found = NULL;
	DIR *dir = opendir(DEBUGFS "/shrinker");
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, "rust_ipc-", 9)) {
			snprintf(path, sizeof(path), DEBUGFS "/shrinker/%s/%s", entry->d_name,
				 file);
			found = path;
		}
	if (dir)
		closedir(dir);
	return found;
}

/* "VmFlags:" of P's area, and what follows in that line. */
static inline const char *area_flags(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	char path[64], *text = arena_alloc(1 << 20), start[32], *flags;

	snprintf(path, sizeof(path), "/proc/%d/smaps", p->pid);
	ASSERT_LT(0, read_text(path, text, 1 << 20));
	snprintf(start, sizeof(start), "%lx-", (unsigned long)p->area);
	flags = strstr(text, start);
	ASSERT_NE(NULL, flags);
	flags = strstr(flags, "VmFlags:");
	ASSERT_NE(NULL, flags);
	*strchr(flags, '\n') = 0;
	return flags;
}

#endif
