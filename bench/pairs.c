// SPDX-License-Identifier: GPL-2.0
/*
 * What pairs of processes that know nothing of each other cost each other. Each
 * pair has a CPU of its own, as far as there are CPUs, and calls in there; all
 * that two pairs share is the kernel. The cost is the time from the start of all
 * pairs to the end of the last, by calls of one pair.
 */
#include <err.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define MOST_PAIRS	8u
#define CALLS		500u

struct pair {
	pid_t client, server;
	int start, end;		/* a byte starts a batch, a byte ends it */
};

/* The near end of a pair: a process of its own. */
static _Noreturn void be_client(struct way *way, int cpu, int start, int end)
{
	struct message message = { .op = OP_CALL, .data = payload, .size = 128 };
	struct way mine = *way;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(cpu);
	if (way->node) {
		open_end(&mine.end, way->node, CLIENT_AREA);
		message.handle = borrow_handle(&mine.end);
	} else {
		start_way(&mine, cpu);
		announce(&mine, 8, message.size);
	}
	write(end, "", 1);
	while (read(start, &byte, 1) == 1) {
		for (unsigned int i = 0; i < CALLS; i++)
			step_call(&mine, &message);
		write(end, "", 1);
	}
	exit(0);
}

static void wait_for(const struct pair *pair)
{
	char byte;

	if (read(pair->end, &byte, 1) != 1)
		errx(1, "a client is gone");
}

static void start_pair(struct way *way, int cpu, struct pair *pair)
{
	int start[2], end[2];

	if (pipe(start) || pipe(end))
		err(1, "pipe");
	if (way->node)
		pair->server = start_server(way->node, 1, cpu);
	pair->client = fork();
	if (pair->client < 0)
		err(1, "fork");
	if (!pair->client) {
		close(start[1]);
		be_client(way, cpu, start[0], end[1]);
	}
	close(start[0]);
	close(end[1]);
	pair->start = start[1];
	pair->end = end[0];
	wait_for(pair);
	if (way->node) {
		call(&way->end, &(struct message){ .op = OP_DROP });
		settle_end(&way->end);
	}
}

static double run_batch(const struct pair *pairs, unsigned int count)
{
	uint64_t begin = now();

	for (unsigned int i = 0; i < count; i++)
		write(pairs[i].start, "", 1);
	for (unsigned int i = 0; i < count; i++)
		wait_for(&pairs[i]);
	return (double)(now() - begin) / CALLS;
}

void case_pairs(void)
{
	static struct pair pairs[WAYS][MOST_PAIRS];
	static double costs[WAYS][MAX_BATCHES];
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);

	for (int way = 0; way < WAYS; way++)
		for (unsigned int i = 0; ways[way].server && i < MOST_PAIRS; i++)
			start_pair(&ways[way], i % cpus, &pairs[way][i]);
	for (unsigned int count = 1; count <= MOST_PAIRS; count *= 2) {
		struct result *result = add(0, "call, 128 B, %u pair%s on %d CPUs", count,
					    count > 1 ? "s" : "", cpus);

		for (unsigned int batch = 0; batch < depth.batches; batch++)
			for (int way = 0; way < WAYS; way++)
				if (ways[way].server)
					costs[way][batch] = run_batch(pairs[way], count);
		for (int way = 0; way < WAYS; way++)
			if (ways[way].server)
				result->cost[way] = median(costs[way], depth.batches);
		result->plot = "pairs";
		result->at = count;
	}
	for (int way = 0; way < WAYS; way++) {
		for (unsigned int i = 0; ways[way].server && i < MOST_PAIRS; i++) {
			kill(pairs[way][i].client, SIGKILL);
			if (pairs[way][i].server)
				kill(pairs[way][i].server, SIGKILL);
		}
	}
}
