// SPDX-License-Identifier: GPL-2.0
/*
 * What messages cost: this driver beside the C driver, a pair of pipes, and an
 * AF_UNIX socket, all in the same boot.
 *
 * Both ends run on CPU 0. Under "qemu -icount shift=0,sleep=off" the guest's
 * clock advances by 1 ns an instruction, so that the times printed are
 * instructions of both ends together (-i says so); elsewhere they are
 * nanoseconds. Each figure is the median of several batches, and the batches of
 * the ways to send alternate. Neither end looks at the payload, except that a
 * pipe and a socket copy it out.
 *
 * -q is a quick look, -g is what guards the budget: fewer batches, and drivers
 * alone. -x measures more points, for plots. -j writes the results to FILE, too.
 * -k says that the kernel is a small one, where goals are others.
 *
 * With -p, the steps of one row are done COUNT times on one way, and nothing is
 * measured: for a profiler outside, which takes the difference of two counts.
 *
 *	bench [-q | -g] [-x] [-i] [-k] [-j FILE] [-s SECONDS] [-r NODE] [-c NODE] [CASE...]
 *	bench -p COUNT [-w WAY] [-s SECONDS] [-r NODE] [-c NODE] ROW
 */
#include <err.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define USAGE \
	"bench [-q | -g] [-x] [-i] [-k] [-j FILE] [-s SECONDS] [-r NODE] [-c NODE] [-o NAME] [CASE...], or\n" \
	"bench -p COUNT [-w WAY] [-s SECONDS] [-r NODE] [-c NODE] ROW"

static const struct depth full = {
	.batches = MAX_BATCHES, .handles = 100000, .buffers = 10000,
	.files = 10000, .mapped = 4000, .threads = 4000,
};
static const struct depth quick = {
	.batches = 3, .handles = 5000, .buffers = 1000,
	.files = 1000, .mapped = 500, .threads = 500,
};
static const struct depth guard = {
	.batches = 5, .handles = 20000, .buffers = 25000,
	.files = 10000, .mapped = 4000, .threads = 4000,
	.only_drivers = true,
};

struct depth depth;
bool is_small;

/* What -p says: do that row so many times. */
static unsigned int profile_count;
static const char *profile_row;
static int profile_way;
static bool profile_done;
static bool is_other;

static struct result results[64];
static unsigned int result_count;

void *checked(void *memory)
{
	if (!memory)
		err(1, "no memory");
	return memory;
}

uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double median(double *values, unsigned int count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

void pin(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		err(1, "sched_setaffinity");
}

const char *spelled(unsigned int number)
{
	static char text[16];

	if (number < 1000)
		snprintf(text, sizeof(text), "%u", number);
	else
		snprintf(text, sizeof(text), "%u,%03u", number / 1000, number % 1000);
	return text;
}

const char *sized(unsigned int size)
{
	static char text[16];

	snprintf(text, sizeof(text), size >= MIB ? "%u MiB" : size >= KIB ? "%u KiB" : "%u B",
		 size >= MIB ? size / MIB : size >= KIB ? size / KIB : size);
	return text;
}

struct result *add(double goal, const char *name, ...)
{
	struct result *result = &results[result_count++];
	va_list arguments;

	if (result_count > ARRAY_SIZE(results))
		errx(1, "too many rows");
	va_start(arguments, name);
	vsnprintf(result->name, sizeof(result->name), name, arguments);
	va_end(arguments);
	result->goal = is_other && goal < 1 ? 1 : goal;
	return result;
}

/* A batch is so long that the timer tick does not matter. */
void measure(struct result *result, int first, int last, step_fn *step, const void *argument,
	     unsigned int steps)
{
	static double costs[WAYS][MAX_BATCHES];

	if (profile_row) {
		bool wanted = !strcmp(result->name, profile_row) && first <= profile_way &&
			      profile_way <= last && ways[profile_way].server;

		for (unsigned int i = 0; wanted && i < profile_count; i++)
			step(&ways[profile_way], argument);
		profile_done |= wanted;
		return;
	}
	for (unsigned int batch = 0; batch < depth.batches; batch++) {
		for (int i = first; i <= last; i++) {
			uint64_t begin;

			if (!ways[i].server)
				continue;
			for (unsigned int j = 0; j < 1 + steps / 10; j++)
				step(&ways[i], argument);
			begin = now();
			for (unsigned int j = 0; j < steps; j++)
				step(&ways[i], argument);
			costs[i][batch] = (double)(now() - begin) / steps;
		}
	}
	for (int i = first; i <= last; i++)
		if (ways[i].server)
			result->cost[i] = median(costs[i], depth.batches);
}

static const struct {
	const char *name;
	void (*run)(void);
	enum {
		ALWAYS,
		/* What costs one of several sums, by chance, would be a guard's false alarm. */
		UNGUARDED,
		/* It takes more than one CPU. */
		IF_NAMED,
	} when;
} cases[] = {
	{ "pairs", case_pairs, IF_NAMED },
	{ "calls", case_calls, ALWAYS },
	{ "oneway", case_oneway, ALWAYS },
	{ "objects", case_objects, ALWAYS },
	{ "nested", case_nested, ALWAYS },
	{ "death", case_death, ALWAYS },
	{ "threads", case_threads, UNGUARDED },
	{ "processes", case_processes, ALWAYS },
	{ "open", case_open, ALWAYS },
	{ "cold", case_cold, ALWAYS },
	{ "memory", case_memory, ALWAYS },
	{ "buffers", case_buffers, ALWAYS },
	{ "handles", case_handles, ALWAYS },
};

/* With ends of its own: what one case leaves behind must not matter to the next. */
static void run_case(void (*run)(void))
{
	for (int i = 0; i < (depth.only_drivers ? SEQPACKET : WAYS); i++)
		if (!ways[i].node || !access(ways[i].node, R_OK | W_OK))
			start_way(&ways[i], 0);
	run();
	for (int i = 0; i < WAYS; i++)
		if (ways[i].server)
			stop_way(&ways[i]);
	/* What is freed late is freed by then, and the context manager is none any more. */
	sleep(1);
}

int main(int argc, char **argv)
{
	const char *unit = "nanoseconds", *path = NULL;
	struct rlimit files = { 65536, 65536 };
	unsigned int settle = 20;
	bool more = false;
	int option;

	depth = full;
	while ((option = getopt(argc, argv, "qgxikj:s:r:c:o:p:w:")) != -1) {
		switch (option) {
		case 'p':
			profile_count = atoi(optarg);
			break;
		case 'w':
			while (profile_way < WAYS && strcmp(ways[profile_way].name, optarg))
				profile_way++;
			if (profile_way == WAYS)
				errx(2, "there is no way '%s'", optarg);
			break;
		case 'q':
			depth = quick;
			break;
		case 'g':
			depth = guard;
			break;
		case 'x':
			more = true;
			break;
		case 'i':
			unit = "instructions";
			break;
		case 'k':
			is_small = true;
			break;
		case 'j':
			path = optarg;
			break;
		case 's':
			settle = atoi(optarg);
			break;
		case 'r':
			ways[RUST_IPC].node = optarg;
			break;
		case 'c':
			ways[C_BINDER].node = optarg;
			break;
		case 'o':
			/* The goals are for C Binder. Of this one none is to be cheaper. */
			ways[C_BINDER].name = optarg;
			is_other = true;
			break;
		default:
			errx(2, "%s", USAGE);
		}
	}
	depth.more = more;
	if (profile_count) {
		if (optind + 1 != argc)
			errx(2, "which row?");
		profile_row = argv[optind++];
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	setrlimit(RLIMIT_NOFILE, &files);
	pin(0);
	payload = checked(aligned_alloc(4096, MAX_PAYLOAD));
	memset(payload, 0x5a, MAX_PAYLOAD);
	for (int i = 0; i < WAYS; i++)
		if (ways[i].node && access(ways[i].node, R_OK | W_OK))
			printf("%s is not there: left out\n", ways[i].node);
	/* A machine that has just booted is busy with itself. */
	printf("settling for %u s\n", settle);
	sleep(settle);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		bool wanted = optind == argc && cases[i].when != IF_NAMED &&
			      !(depth.only_drivers && cases[i].when == UNGUARDED) &&
			      /* The kernel's Rust driver does not come to the end of that. */
			      !(is_other && cases[i].run == case_death);

		for (int j = optind; j < argc; j++)
			wanted |= !strcmp(argv[j], cases[i].name);
		if (!wanted || profile_done)
			continue;
		if (!profile_row)
			printf("%s ...\n", cases[i].name);
		run_case(cases[i].run);
	}
	if (!profile_row)
		print_results(results, result_count, unit);
	else if (!profile_done)
		errx(2, "there is no row '%s' for %s", profile_row, ways[profile_way].name);
	if (path)
		write_results(path, results, result_count, unit);
	return 0;
}
