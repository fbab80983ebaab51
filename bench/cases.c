// SPDX-License-Identifier: GPL-2.0
/* The cases: what is sent, and what is done with it. */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define ONEWAY_BATCH	500u
#define WATCHERS	100u
#define SERVERS		100u
#define THREADS		100u

void step_call(struct way *way, const void *argument)
{
	const struct message *message = argument;

	if (way->node)
		call(&way->end, message);
	else
		round_trip_bytes(way, message->size);
}

void case_calls(void)
{
	const struct {
		uint32_t size;
		unsigned int steps;
		double goal;
		bool more;
	} sizes[] = {
		{ 0, 400, 0, false },
		{ 128, 400, is_small ? 0.45 : 0.55, false },
		{ KIB, 400, 0, true },
		{ 4 * KIB, 400, 0, false },
		{ 16 * KIB, 100, 0, true },
		{ 64 * KIB, 60, 0, false },
		{ 256 * KIB, 15, 0, true },
		{ MIB, 8, 0, false },
	};
	uint32_t old_size = 8;

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct message message = { .op = OP_CALL, .data = payload, .size = sizes[i].size };
		struct result *result;

		if (sizes[i].more && !depth.more)
			continue;
		result = add(sizes[i].goal, "call, %s", sized(sizes[i].size));
		result->plot = "size";
		result->at = sizes[i].size;
		if (sizes[i].size >= 64 * KIB)
			result->per_byte = sizes[i].size;
		if (!sizes[i].size) {
			/* To a reader, that is the end of a pipe or a socket. */
			measure(result, RUST_IPC, C_BINDER, step_call, &message, sizes[i].steps);
			continue;
		}
		announce(&ways[PIPE], old_size, sizes[i].size);
		old_size = sizes[i].size;
		measure(result, 0, WAYS - 1, step_call, &message, sizes[i].steps);
	}
	announce(&ways[PIPE], old_size, 8);
}

static void step_oneway(struct way *way, const void *argument)
{
	struct message last = *(const struct message *)argument;
	char byte;

	for (unsigned int i = 1; i < ONEWAY_BATCH; i++)
		send_oneway(&way->end, argument);
	last.op = OP_SIGNAL;
	send_oneway(&way->end, &last);
	if (read(way->signal_fd, &byte, 1) != 1)
		errx(1, "the server is gone");
}

void case_oneway(void)
{
	struct message message = { .op = OP_CALL, .data = payload, .size = 128 };
	struct result *result = add(0.45, "one-way, 128 B");

	measure(result, RUST_IPC, C_BINDER, step_oneway, &message, 2);
	for (int i = RUST_IPC; i <= C_BINDER; i++)
		result->cost[i] /= ONEWAY_BATCH;
}

/* Calls with an object of each type in the payload. */
void case_objects(void)
{
	static const binder_size_t offset;
	/* The protocol has no fixups in an object at offset 0. */
	static const binder_size_t array_offsets[] = { 8, 8 + sizeof(struct binder_buffer_object) };
	static uint8_t pointed[128];
	uint32_t fds[ARRAY_FDS];
	struct binder_fd_object file = {
		.hdr.type = BINDER_TYPE_FD,
		.fd = open("/dev/null", O_RDONLY | O_CLOEXEC),
	};
	struct flat_binder_object node = { .binder = 0x1000, .cookie = 0x2000 };
	struct flat_binder_object handle = { .hdr.type = BINDER_TYPE_HANDLE };
	struct {
		uint64_t token;
		struct binder_buffer_object buffer;
		struct binder_fd_array_object array;
	} array = {
		.buffer = {
			.hdr.type = BINDER_TYPE_PTR,
			.buffer = (uintptr_t)fds,
			.length = sizeof(fds),
		},
		.array = { .hdr.type = BINDER_TYPE_FDA, .num_fds = ARRAY_FDS },
	};
	struct binder_buffer_object buffer = {
		.hdr.type = BINDER_TYPE_PTR,
		.buffer = (uintptr_t)pointed,
		.length = sizeof(pointed),
	};
	struct message message = { .offsets = &offset, .offset_count = 1 };

	message.op = OP_FD;
	message.data = &file;
	message.size = sizeof(file);
	measure(add(0.7, "call with a descriptor"), RUST_IPC, C_BINDER, step_call, &message, 300);

	/* From now on the server has a handle, so that nothing is made or unmade. */
	for (int i = RUST_IPC; i <= C_BINDER; i++)
		if (ways[i].server)
			lend_node(&ways[i].end);
	message.op = OP_CALL;
	message.data = &node;
	message.size = sizeof(node);
	node.hdr.type = BINDER_TYPE_BINDER;
	measure(add(0.6, "call with an object"), RUST_IPC, C_BINDER, step_call, &message, 300);
	node.hdr.type = BINDER_TYPE_WEAK_BINDER;
	measure(add(0, "call with a weak object"), RUST_IPC, C_BINDER, step_call, &message, 300);

	message.data = &handle;
	struct result *by_handle = add(0.6, "call with a handle");

	for (int i = RUST_IPC; i <= C_BINDER; i++) {
		if (!ways[i].server)
			continue;
		handle.handle = take_handles(&ways[i].end, 1);
		measure(by_handle, i, i, step_call, &message, 300);
	}

	message.data = &buffer;
	message.size = sizeof(buffer);
	message.buffers_size = sizeof(pointed);
	measure(add(0, "call with a pointer to 128 B"), RUST_IPC, C_BINDER, step_call, &message, 300);

	for (unsigned int i = 0; i < ARRAY_FDS; i++)
		fds[i] = file.fd;
	message.op = OP_FD_ARRAY;
	message.data = &array;
	message.size = sizeof(array);
	message.offsets = array_offsets;
	message.offset_count = 2;
	message.buffers_size = sizeof(fds);
	measure(add(0, "call with an array of %u descriptors", ARRAY_FDS), RUST_IPC, C_BINDER,
		step_call, &message, 100);
	close(file.fd);
}

void case_nested(void)
{
	static const binder_size_t offset;
	struct flat_binder_object node = {
		.hdr.type = BINDER_TYPE_BINDER, .binder = 0x1000, .cookie = 0x2000,
	};
	struct message message = {
		.op = OP_BACK, .data = &node, .size = sizeof(node),
		.offsets = &offset, .offset_count = 1,
	};

	for (int i = RUST_IPC; i <= C_BINDER; i++)
		if (ways[i].server)
			lend_node(&ways[i].end);
	measure(add(0, "call that calls back, and its object"), RUST_IPC, C_BINDER, step_call,
		&message, 200);
}

/* A process dies, and so many others are told. The cost is that of one of them. */
static void step_death(struct way *way, struct end *watchers, double *cost)
{
	struct end owner;
	uint32_t handles[WATCHERS];
	uint64_t begin;

	open_end(&owner, way->node, 4 * KIB);
	lend_node(&owner);
	for (unsigned int i = 0; i < WATCHERS; i++) {
		handles[i] = borrow_handle(&watchers[i]);
		put_death(&watchers[i].out, BC_REQUEST_DEATH_NOTIFICATION, handles[i], i);
		settle_end(&watchers[i]);
	}
	call(&way->end, &(struct message){ .op = OP_DROP });
	settle_end(&way->end);
	begin = now();
	close_end(&owner);
	for (unsigned int i = 0; i < WATCHERS; i++) {
		while (next_return(&watchers[i], NULL) != BR_DEAD_BINDER)
			;
		settle_end(&watchers[i]);
	}
	*cost = (double)(now() - begin) / WATCHERS;
	for (unsigned int i = 0; i < WATCHERS; i++) {
		put_death(&watchers[i].out, BC_CLEAR_DEATH_NOTIFICATION, handles[i], i);
		while (next_return(&watchers[i], NULL) != BR_CLEAR_DEATH_NOTIFICATION_DONE)
			;
		put_u32(&watchers[i].out, BC_RELEASE, handles[i]);
		settle_end(&watchers[i]);
	}
}

void case_death(void)
{
	static struct end watchers[WAYS][WATCHERS];
	static double costs[WAYS][MAX_BATCHES];
	struct result *result = add(0, "death told to %u processes, each", WATCHERS);

	for (int i = RUST_IPC; i <= C_BINDER; i++)
		for (unsigned int j = 0; ways[i].server && j < WATCHERS; j++)
			open_end(&watchers[i][j], ways[i].node, 4 * KIB);
	for (unsigned int batch = 0; batch < depth.batches; batch++)
		for (int i = RUST_IPC; i <= C_BINDER; i++)
			if (ways[i].server)
				step_death(&ways[i], watchers[i], &costs[i][batch]);
	for (int i = RUST_IPC; i <= C_BINDER; i++) {
		if (!ways[i].server)
			continue;
		result->cost[i] = median(costs[i], depth.batches);
		for (unsigned int j = 0; j < WATCHERS; j++)
			close_end(&watchers[i][j]);
	}
}

/* Another server than the manager, and the handle of its node. */
static uint32_t meet_server(struct way *way, unsigned int threads, pid_t *server)
{
	uint32_t handle;

	*server = start_server(way->node, threads, 0);
	handle = borrow_handle(&way->end);
	call(&way->end, &(struct message){ .op = OP_DROP });
	settle_end(&way->end);
	return handle;
}

static void leave_server(struct way *way, uint32_t handle, pid_t server)
{
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	put_u32(&way->end.out, BC_RELEASE, handle);
	settle_end(&way->end);
}

void case_threads(void)
{
	struct result *result = add(0, "call, 128 B, one of %u threads serves", THREADS);

	for (int i = RUST_IPC; i <= C_BINDER; i++) {
		struct message message = { .op = OP_CALL, .data = payload, .size = 128 };
		pid_t server;

		if (!ways[i].server)
			continue;
		message.handle = meet_server(&ways[i], THREADS, &server);
		/* They all wait by then. */
		sleep(1);
		measure(result, i, i, step_call, &message, 300);
		leave_server(&ways[i], message.handle, server);
	}
}

static uint32_t servers[SERVERS];

/* Calls each of the servers. */
static void step_around(struct way *way, const void *argument)
{
	struct message message = *(const struct message *)argument;

	for (unsigned int i = 0; i < SERVERS; i++) {
		message.handle = servers[i];
		call(&way->end, &message);
	}
}

void case_processes(void)
{
	struct message message = { .op = OP_CALL, .data = payload, .size = 128 };
	struct result *result = add(0, "call, 128 B, %u servers in turn", SERVERS);
	pid_t pids[SERVERS];

	for (int i = RUST_IPC; i <= C_BINDER; i++) {
		if (!ways[i].server)
			continue;
		for (unsigned int j = 0; j < SERVERS; j++)
			servers[j] = meet_server(&ways[i], 1, &pids[j]);
		measure(result, i, i, step_around, &message, 3);
		result->cost[i] /= SERVERS;
		for (unsigned int j = 0; j < SERVERS; j++)
			leave_server(&ways[i], servers[j], pids[j]);
	}
}

static void step_open(struct way *way, const void *argument)
{
	struct end end;

	(void)argument;
	open_end(&end, way->node, MIB);
	close_end(&end);
}

void case_open(void)
{
	measure(add(0, "open, map 1 MiB, close"), RUST_IPC, C_BINDER, step_open, NULL, 500);
}

/* Has the kernel take back all that it can. Three rounds: lately used pages are spared first. */
static void reclaim(int fd)
{
	for (int round = 0; round < 3; round++)
		if (write(fd, "2", 1) != 1)
			err(1, "drop_caches");
}

/* Calls with SIZE bytes, for which one page is there at most; and what it takes to reclaim them. */
static void cold(int fd, uint32_t size, struct result *send, struct result *page)
{
	struct message small = { .op = OP_CALL, .data = payload, .size = 8 };
	struct message large = { .op = OP_CALL, .data = payload, .size = size };
	static double sends[WAYS][MAX_BATCHES], reclaims[WAYS][MAX_BATCHES];

	for (unsigned int batch = 0; batch < depth.batches; batch++) {
		for (int i = RUST_IPC; i <= C_BINDER; i++) {
			uint64_t begin, empty;

			if (!ways[i].server)
				continue;
			reclaim(fd);
			begin = now();
			reclaim(fd);
			empty = now() - begin;
			/* Wakes both ends up; takes one page. */
			call(&ways[i].end, &small);
			begin = now();
			call(&ways[i].end, &large);
			sends[i][batch] = now() - begin;
			/* The server frees its buffer while it replies. */
			call(&ways[i].end, &small);
			settle_end(&ways[i].end);
			begin = now();
			reclaim(fd);
			reclaims[i][batch] = ((double)(now() - begin) - empty) / (size / 4096);
		}
	}
	for (int i = RUST_IPC; i <= C_BINDER; i++) {
		if (!ways[i].server)
			continue;
		send->cost[i] = median(sends[i], depth.batches);
		if (page)
			page->cost[i] = median(reclaims[i], depth.batches);
	}
}

void case_cold(void)
{
	static const uint32_t more[] = { 16 * KIB, 64 * KIB, 256 * KIB };
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	struct result *send;

	if (fd < 0) {
		warn("drop_caches: left out");
		return;
	}
	reclaim(fd);
	for (unsigned int i = 0; depth.more && i < ARRAY_SIZE(more); i++) {
		send = add(0, "call, %s, pages absent", sized(more[i]));
		send->plot = "touch";
		send->at = more[i];
		cold(fd, more[i], send, NULL);
	}
	send = add(0.6, "call, %s, pages absent", sized(MIB));
	send->plot = "touch";
	send->at = MIB;
	cold(fd, MIB, send, add(1.0, "reclaim, per page"));
	close(fd);
}
