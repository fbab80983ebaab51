// SPDX-License-Identifier: GPL-2.0
/*
 * What messages cost: this driver beside the C driver, a pair of pipes, and an
 * AF_UNIX socket, all in the same boot.
 *
 * Both ends run on CPU 0. Under "qemu -icount shift=0,sleep=off" the guest's
 * clock advances by 1 ns an instruction, so that the times printed are
 * instructions of both ends together; elsewhere they are nanoseconds. Each
 * figure is the median of several batches, and the batches of the ways to send
 * alternate. Neither end looks at the payload, except that a pipe and a socket
 * copy it out.
 *
 * With -p, the steps of one row are done COUNT times on one way, and nothing is
 * measured: for a profiler outside, which takes the difference of two counts.
 *
 *	bench [-q] [-s SECONDS] [-r NODE] [-c NODE] [CASE...]
 *	bench -p COUNT [-w WAY] [-s SECONDS] [-r NODE] [-c NODE] ROW
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/android/binder.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KIB		1024u
#define MIB		(1024u * 1024u)
#define SERVER_AREA	(4 * MIB)
#define CLIENT_AREA	(1 * MIB)
#define MAX_PAYLOAD	(1 * MIB)
#define MAX_BATCHES	15
#define HANDLES		100000u
#define BUFFERS		10000u
#define FEW		10u
#define OPEN_FILES	500u
/* Nodes that one reply brings. */
#define GIVEN_AT_ONCE	500u
#define ONEWAY_BATCH	500u

/* What a message asks of the server. */
enum op {
	OP_CALL = 1,	/* reply, and free the buffer */
	OP_HOLD,	/* reply, and keep the buffer */
	OP_FREE_HELD,	/* free what was kept, and reply */
	OP_GIVE,	/* reply with as many nodes as the payload says */
	OP_KEEP,	/* take a reference to the handle in the payload, and reply */
	OP_FD,		/* close the descriptor in the payload, and reply */
	OP_SIGNAL,	/* one-way: write a byte to the pipe */
};

static bool quick;

/* What -p says: do that row so many times. */
static unsigned int profile_count;
static const char *profile_row;
static int profile_way;
static bool profile_done;

static void *checked(void *memory)
{
	if (!memory)
		err(1, "no memory");
	return memory;
}

static uint64_t now(void)
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

static double median(double *values, unsigned int count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

/* Commands on their way to the driver. */
struct commands {
	uint8_t *bytes;
	size_t len, room;
};

static void put(struct commands *out, uint32_t command, const void *payload)
{
	size_t size = _IOC_SIZE(command);

	if (out->len + 4 + size > out->room) {
		out->room = 2 * out->room + 4 + size;
		out->bytes = checked(realloc(out->bytes, out->room));
	}
	memcpy(out->bytes + out->len, &command, 4);
	memcpy(out->bytes + out->len + 4, payload, size);
	out->len += 4 + size;
}

static void put_u64(struct commands *out, uint32_t command, uint64_t value)
{
	put(out, command, &value);
}

static void put_u32(struct commands *out, uint32_t command, uint32_t value)
{
	put(out, command, &value);
}

/* One end of a Binder device. */
struct end {
	int fd;
	struct commands out;
	uint8_t in[4096];
	size_t in_len, in_at;
};

static void open_end(struct end *end, const char *node, size_t area)
{
	struct binder_version version = { 0 };

	memset(end, 0, sizeof(*end));
	end->fd = open(node, O_RDWR | O_CLOEXEC);
	if (end->fd < 0 || ioctl(end->fd, BINDER_VERSION, &version))
		err(1, "%s", node);
	if (version.protocol_version != 8)
		errx(1, "%s speaks protocol %d", node, version.protocol_version);
	if (mmap(NULL, area, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, end->fd, 0) == MAP_FAILED)
		err(1, "%s: mmap", node);
}

/* Writes what is to be written, and reads if READ. */
static void exchange(struct end *end, bool read)
{
	struct binder_write_read bwr = {
		.write_size = end->out.len,
		.write_buffer = (uintptr_t)end->out.bytes,
		.read_size = read ? sizeof(end->in) : 0,
		.read_buffer = (uintptr_t)end->in,
	};

	if (ioctl(end->fd, BINDER_WRITE_READ, &bwr) && errno != EINTR)
		err(1, "BINDER_WRITE_READ");
	if (bwr.write_consumed < end->out.len) {
		memmove(end->out.bytes, end->out.bytes + bwr.write_consumed,
			end->out.len - bwr.write_consumed);
		end->out.len -= bwr.write_consumed;
	} else {
		end->out.len = 0;
	}
	end->in_at = 0;
	end->in_len = bwr.read_consumed;
}

/* The next return. What the driver wants an answer to gets it. */
static uint32_t next_return(struct end *end, void *payload)
{
	uint32_t returned;
	uint8_t *bytes;

	while (end->in_at == end->in_len)
		exchange(end, true);
	memcpy(&returned, end->in + end->in_at, 4);
	bytes = end->in + end->in_at + 4;
	end->in_at += 4 + _IOC_SIZE(returned);
	switch (returned) {
	case BR_INCREFS:
		put(&end->out, BC_INCREFS_DONE, bytes);
		break;
	case BR_ACQUIRE:
		put(&end->out, BC_ACQUIRE_DONE, bytes);
		break;
	case BR_TRANSACTION:
	case BR_REPLY:
		memcpy(payload, bytes, sizeof(struct binder_transaction_data));
		break;
	case BR_FAILED_REPLY:
	case BR_DEAD_REPLY:
	case BR_ERROR:
		errx(1, "a message failed (%#x)", returned);
	}
	return returned;
}

struct message {
	uint32_t handle;
	enum op op;
	const void *data;
	size_t size;
	/* Offset of an object, or NULL. */
	const binder_size_t *offset;
};

static void put_message(struct commands *out, uint32_t command, const struct message *message,
			uint32_t flags)
{
	struct binder_transaction_data data = {
		.target.handle = message->handle,
		.code = message->op,
		.flags = flags,
		.data_size = message->size,
		.offsets_size = message->offset ? sizeof(*message->offset) : 0,
		.data.ptr.buffer = (uintptr_t)message->data,
		.data.ptr.offsets = (uintptr_t)message->offset,
	};

	put(out, command, &data);
}

/* Calls. The reply's buffer is freed together with the next call. */
static void call_for(struct end *end, const struct message *message,
		     struct binder_transaction_data *reply)
{
	put_message(&end->out, BC_TRANSACTION, message, 0);
	while (next_return(end, reply) != BR_REPLY)
		;
	put_u64(&end->out, BC_FREE_BUFFER, reply->data.ptr.buffer);
}

static void call(struct end *end, const struct message *message)
{
	struct binder_transaction_data reply;

	call_for(end, message, &reply);
	if (reply.data_size != 8)
		errx(1, "a reply of %llu bytes", (unsigned long long)reply.data_size);
}

static void send_oneway(struct end *end, const struct message *message)
{
	struct binder_transaction_data none;

	put_message(&end->out, BC_TRANSACTION, message, TF_ONE_WAY);
	while (next_return(end, &none) != BR_TRANSACTION_COMPLETE)
		;
}

static void settle_end(struct end *end)
{
	if (end->out.len)
		exchange(end, false);
}

/* Runs in a process of its own. */
static _Noreturn void serve(const char *node, int signal_fd, int ready_fd)
{
	static binder_size_t offsets[GIVEN_AT_ONCE];
	static struct flat_binder_object nodes[GIVEN_AT_ONCE];
	struct binder_transaction_data call;
	struct commands held = { 0 };
	uint64_t answer = 0, given = 0;
	struct end end;

	open_end(&end, node, SERVER_AREA);
	if (ioctl(end.fd, BINDER_SET_CONTEXT_MGR_EXT,
		  &(struct flat_binder_object){ .flags = FLAT_BINDER_FLAG_ACCEPTS_FDS }))
		err(1, "%s: becoming the context manager", node);
	put(&end.out, BC_ENTER_LOOPER, NULL);
	settle_end(&end);
	write(ready_fd, "", 1);
	for (;;) {
		struct binder_transaction_data reply = {
			.data_size = sizeof(answer),
			.data.ptr.buffer = (uintptr_t)&answer,
		};
		const uint8_t *data;
		bool hold = false;

		if (next_return(&end, &call) != BR_TRANSACTION)
			continue;
		data = (const uint8_t *)(uintptr_t)call.data.ptr.buffer;
		switch (call.code) {
		case OP_HOLD:
			hold = true;
			break;
		case OP_FREE_HELD: {
			struct commands none = end.out;

			/* In one piece, as one long write. */
			end.out = held;
			settle_end(&end);
			held = end.out;
			end.out = none;
			break;
		}
		case OP_GIVE: {
			uint32_t count = *(const uint32_t *)data;

			for (uint32_t i = 0; i < count; i++) {
				nodes[i] = (struct flat_binder_object){
					.hdr.type = BINDER_TYPE_BINDER,
					.binder = ++given * 16,
					.cookie = given,
				};
				offsets[i] = i * sizeof(nodes[0]);
			}
			reply.data_size = count * sizeof(nodes[0]);
			reply.data.ptr.buffer = (uintptr_t)nodes;
			reply.offsets_size = count * sizeof(offsets[0]);
			reply.data.ptr.offsets = (uintptr_t)offsets;
			break;
		}
		case OP_KEEP:
			put_u32(&end.out, BC_ACQUIRE,
				((const struct flat_binder_object *)data)->handle);
			break;
		case OP_FD:
			close(((const struct binder_fd_object *)data)->fd);
			break;
		case OP_SIGNAL:
			write(signal_fd, "", 1);
			break;
		default:
			break;
		}
		put_u64(hold ? &held : &end.out, BC_FREE_BUFFER, call.data.ptr.buffer);
		if (!(call.flags & TF_ONE_WAY))
			put(&end.out, BC_REPLY, &reply);
	}
}

/* A way to send messages. */
struct way {
	const char *name;
	const char *node;		/* of a Binder device */
	pid_t server;
	struct end end;
	int to, from;			/* of a pipe or a socket */
	int signal_fd;			/* where a one-way message may announce itself */
	bool packets;
};

enum { RUST_IPC, C_BINDER, SEQPACKET, PIPE, WAYS };

static struct way ways[WAYS] = {
	[RUST_IPC] = { .name = "rust_ipc", .node = "/dev/rust_ipc" },
	[C_BINDER] = { .name = "C Binder", .node = "/dev/binder" },
	[SEQPACKET] = { .name = "SEQPACKET", .packets = true },
	[PIPE] = { .name = "pipes" },
};

static uint8_t *payload;

static void write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t done = write(fd, bytes, len);

		if (done < 0)
			err(1, "write");
		bytes += done;
		len -= done;
	}
}

static void read_all(int fd, uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t done = read(fd, bytes, len);

		if (done <= 0)
			exit(0);
		bytes += done;
		len -= done;
	}
}

/* The far end of pipes and sockets. The client says the size of what follows. */
static _Noreturn void serve_bytes(struct way *way, int from, int to)
{
	uint32_t size = 8;
	uint64_t answer = 0;

	for (;;) {
		if (way->packets) {
			if (read(from, payload, MAX_PAYLOAD) <= 0)
				exit(0);
		} else {
			read_all(from, payload, size);
			/* A message may announce another size. */
			if (!memcmp(payload, "size", 4))
				memcpy(&size, payload + 4, 4);
		}
		write_all(to, (uint8_t *)&answer, sizeof(answer));
	}
}

static void round_trip_bytes(struct way *way, size_t size)
{
	uint64_t answer;

	write_all(way->to, payload, size);
	read_all(way->from, (uint8_t *)&answer, sizeof(answer));
}

static void announce(struct way *way, uint32_t old_size, uint32_t size)
{
	if (way->node || way->packets)
		return;
	memcpy(payload, "size", 4);
	memcpy(payload + 4, &size, 4);
	round_trip_bytes(way, old_size);
	memset(payload, 0, 8);
}

static void start(struct way *way)
{
	int signal_pipe[2], ready[2], there[2], back[2];
	char byte;

	if (pipe(ready) || pipe(signal_pipe))
		err(1, "pipe");
	if (way->packets) {
		int room = 2 * MAX_PAYLOAD, pair[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
			err(1, "socketpair");
		setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
		there[1] = back[0] = pair[0];
		there[0] = back[1] = pair[1];
	} else if (!way->node && (pipe(there) || pipe(back))) {
		err(1, "pipe");
	}
	way->server = fork();
	if (way->server < 0)
		err(1, "fork");
	if (!way->server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (way->node)
			serve(way->node, signal_pipe[1], ready[1]);
		write(ready[1], "", 1);
		serve_bytes(way, there[0], back[1]);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		exit(1);
	close(ready[0]);
	way->signal_fd = signal_pipe[0];
	if (way->node) {
		open_end(&way->end, way->node, CLIENT_AREA);
	} else {
		way->to = there[1];
		way->from = back[0];
	}
}

/* A case: what one step costs, for each way that can do it. */
struct result {
	const char *name;
	double cost[WAYS];	/* 0: not measured */
	double base[WAYS];	/* what cost is compared with, if not with C Binder's */
	double goal;		/* at most this share of C Binder's, or of base */
	double per_byte;	/* if not 0: at most 1.10 a byte, and this many bytes */
	const char *unit;
};

static struct result results[40];
static unsigned int result_count;

typedef void step_fn(struct way *way, const void *argument);

/*
 * The median cost of a step, batch by batch, the ways in turn. A batch is so
 * long that the timer tick does not matter.
 */
static void measure(struct result *result, int first, int last, step_fn *step,
		    const void *argument, unsigned int steps)
{
	static double costs[WAYS][MAX_BATCHES];
	unsigned int batches = quick ? 3 : MAX_BATCHES;

	if (profile_row) {
		bool wanted = !strcmp(result->name, profile_row) && first <= profile_way &&
			      profile_way <= last && ways[profile_way].server;

		for (unsigned int i = 0; wanted && i < profile_count; i++)
			step(&ways[profile_way], argument);
		profile_done |= wanted;
		return;
	}
	for (unsigned int batch = 0; batch < batches; batch++) {
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
			result->cost[i] = median(costs[i], batches);
}

static struct result *add(const char *name, double goal)
{
	struct result *result = &results[result_count++];

	result->name = name;
	result->goal = goal;
	return result;
}

static void step_call(struct way *way, const void *argument)
{
	const struct message *message = argument;

	if (way->node)
		call(&way->end, message);
	else
		round_trip_bytes(way, message->size);
}

static void case_calls(void)
{
	static const struct {
		const char *name;
		uint32_t size;
		unsigned int steps;
		double goal;
	} sizes[] = {
		{ "call, 128 B", 128, 400, 0.55 },
		{ "call, 4 KiB", 4 * KIB, 400, 0 },
		{ "call, 64 KiB", 64 * KIB, 60, 0 },
		{ "call, 1 MiB", MIB, 8, 0 },
	};
	uint32_t old_size = 8;

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct message message = { .op = OP_CALL, .data = payload, .size = sizes[i].size };
		struct result *result = add(sizes[i].name, sizes[i].goal);

		announce(&ways[PIPE], old_size, sizes[i].size);
		old_size = sizes[i].size;
		if (sizes[i].size >= 64 * KIB)
			result->per_byte = sizes[i].size;
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

static void case_oneway(void)
{
	struct message message = { .op = OP_CALL, .data = payload, .size = 128 };
	struct result *result = add("one-way, 128 B", 0.45);

	measure(result, RUST_IPC, C_BINDER, step_oneway, &message, 2);
	for (int i = RUST_IPC; i <= C_BINDER; i++)
		result->cost[i] /= ONEWAY_BATCH;
}

static void case_fd(void)
{
	static const binder_size_t offset;
	struct binder_fd_object object = {
		.hdr.type = BINDER_TYPE_FD,
		.fd = open("/dev/null", O_RDONLY),
	};
	struct message message = {
		.op = OP_FD, .data = &object, .size = sizeof(object), .offset = &offset,
	};

	measure(add("call with a descriptor", 0.7), RUST_IPC, C_BINDER, step_call, &message, 300);
	close(object.fd);
}

static void case_object(void)
{
	static const binder_size_t offset;
	struct flat_binder_object object = {
		.hdr.type = BINDER_TYPE_BINDER,
		.binder = 0x1000,
		.cookie = 0x2000,
	};
	struct message message = {
		.op = OP_KEEP, .data = &object, .size = sizeof(object), .offset = &offset,
	};

	/* From now on the server has a handle, so that nothing is made or unmade. */
	for (int i = RUST_IPC; i <= C_BINDER; i++)
		if (ways[i].server)
			call(&ways[i].end, &message);
	message.op = OP_CALL;
	measure(add("call with an object", 0.6), RUST_IPC, C_BINDER, step_call, &message, 300);
}

/* Memory that the kernel uses for data structures, in bytes. */
static double kernel_bytes(void)
{
	double total = 0;
	FILE *file = fopen("/proc/meminfo", "r");
	char name[64];
	unsigned long kib;

	while (file && fscanf(file, "%63[^:]: %lu%*[^\n]\n", name, &kib) == 2)
		if (!strcmp(name, "SUnreclaim") || !strcmp(name, "VmallocUsed") ||
		    !strcmp(name, "Percpu"))
			total += kib * 1024.0;
	if (file)
		fclose(file);
	return total;
}

/* Has the server give COUNT nodes, and keeps them. The last one's handle. */
static uint32_t take_handles(struct way *way, uint32_t count)
{
	uint32_t handle = 0;

	while (count) {
		uint32_t now_count = count < GIVEN_AT_ONCE ? count : GIVEN_AT_ONCE;
		struct message message = { .op = OP_GIVE, .data = &now_count, .size = 4 };
		struct binder_transaction_data reply;
		const struct flat_binder_object *objects;
		struct commands freeing;

		settle_end(&way->end);
		call_for(&way->end, &message, &reply);
		/* The references come before the buffer goes. */
		freeing = way->end.out;
		way->end.out = (struct commands){ 0 };
		objects = (const void *)(uintptr_t)reply.data.ptr.buffer;
		for (uint32_t i = 0; i < now_count; i++) {
			handle = objects[i].handle;
			put_u32(&way->end.out, BC_ACQUIRE, handle);
		}
		settle_end(&way->end);
		free(way->end.out.bytes);
		way->end.out = freeing;
		settle_end(&way->end);
		count -= now_count;
	}
	/* The server has acknowledged the references when it serves this. */
	call(&way->end, &(struct message){ .op = OP_CALL, .data = payload, .size = 8 });
	call(&way->end, &(struct message){ .op = OP_CALL, .data = payload, .size = 8 });
	return handle;
}

static void case_handles(void)
{
	struct result *memory = add("memory of a node and its handle", 1.0);
	struct result *few = add("call by handle, 10 held", 0);
	struct result *many = add("call by handle, 100,000 held", 1.1);
	uint32_t count = quick ? HANDLES / 20 : HANDLES;

	memory->unit = "bytes";
	for (int i = RUST_IPC; i <= C_BINDER; i++) {
		struct message message = { .op = OP_CALL, .data = payload, .size = 128 };
		double before;

		if (!ways[i].server)
			continue;
		message.handle = take_handles(&ways[i], FEW);
		measure(few, i, i, step_call, &message, 300);
		before = kernel_bytes();
		message.handle = take_handles(&ways[i], count);
		memory->cost[i] = (kernel_bytes() - before) / count;
		measure(many, i, i, step_call, &message, 300);
		many->base[i] = few->cost[i];
	}
}

static void case_buffers(void)
{
	struct result *memory = add("memory of a live buffer, but for its pages", 1.0);
	struct result *few = add("call, 10 live buffers", 0);
	struct result *many = add("call, 10,000 live buffers", 1.1);
	unsigned int count = quick ? BUFFERS / 20 : BUFFERS;

	memory->unit = "bytes";
	for (int i = RUST_IPC; i <= C_BINDER; i++) {
		struct message message = { .op = OP_CALL, .data = payload, .size = 128 };
		struct message hold = { .op = OP_HOLD, .data = payload, .size = 128 };
		struct message release = { .op = OP_FREE_HELD, .data = payload, .size = 8 };
		double before;

		if (!ways[i].server)
			continue;
		for (unsigned int j = 0; j < FEW; j++)
			call(&ways[i].end, &hold);
		measure(few, i, i, step_call, &message, 300);
		before = kernel_bytes();
		for (unsigned int j = 0; j < count; j++)
			call(&ways[i].end, &hold);
		memory->cost[i] = (kernel_bytes() - before) / count;
		measure(many, i, i, step_call, &message, 300);
		many->base[i] = few->cost[i];
		call(&ways[i].end, &release);
	}
}

static void case_memory(void)
{
	struct result *result = add("memory of an open file", 1.0);
	static int fds[OPEN_FILES];

	result->unit = "bytes";
	for (int i = RUST_IPC; i <= C_BINDER; i++) {
		double before;

		if (!ways[i].server)
			continue;
		/* The first round fills what is cached for files in general. */
		for (int round = 0; round < 2; round++) {
			before = kernel_bytes();
			for (unsigned int j = 0; j < OPEN_FILES; j++) {
				fds[j] = open(ways[i].node, O_RDWR | O_CLOEXEC);
				if (fds[j] < 0)
					err(1, "%s", ways[i].node);
			}
			result->cost[i] = (kernel_bytes() - before) / OPEN_FILES;
			for (unsigned int j = 0; j < OPEN_FILES; j++)
				close(fds[j]);
			sleep(1);
		}
	}
}

/* Has the kernel take back all that it can. Three rounds: lately used pages are spared first. */
static void reclaim(int fd)
{
	for (int round = 0; round < 3; round++)
		if (write(fd, "2", 1) != 1)
			err(1, "drop_caches");
}

static void case_cold(void)
{
	struct message small = { .op = OP_CALL, .data = payload, .size = 8 };
	struct message large = { .op = OP_CALL, .data = payload, .size = MIB };
	static double sends[WAYS][MAX_BATCHES], reclaims[WAYS][MAX_BATCHES];
	struct result *send = add("call, 1 MiB, pages absent", 0.6);
	struct result *page = add("reclaim, per page", 1.0);
	unsigned int batches = quick ? 3 : MAX_BATCHES;
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	if (fd < 0) {
		result_count -= 2;
		return;
	}
	reclaim(fd);
	for (unsigned int batch = 0; batch < batches; batch++) {
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
			reclaims[i][batch] = ((double)(now() - begin) - empty) / (MIB / 4096);
		}
	}
	for (int i = RUST_IPC; i <= C_BINDER; i++) {
		if (!ways[i].server)
			continue;
		send->cost[i] = median(sends[i], batches);
		page->cost[i] = median(reclaims[i], batches);
	}
	close(fd);
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "calls", case_calls },
	{ "oneway", case_oneway },
	{ "fd", case_fd },
	{ "object", case_object },
	{ "cold", case_cold },
	{ "memory", case_memory },
	{ "buffers", case_buffers },
	/* Last: what it makes stays. */
	{ "handles", case_handles },
};

static void print_cost(double cost)
{
	if (cost)
		printf(" %11.0f", cost);
	else
		printf(" %11s", "-");
}

static void print_results(void)
{
	printf("\n%-42s", "");
	for (int i = 0; i < WAYS; i++)
		printf(" %11s", ways[i].name);
	printf("  ratio  goal\n");
	for (unsigned int i = 0; i < result_count; i++) {
		const struct result *result = &results[i];
		double ours = result->cost[RUST_IPC], theirs = result->cost[C_BINDER];
		char goal[64] = "", ratio[32] = "";
		bool met = true;

		if (result->base[RUST_IPC])
			theirs = result->base[RUST_IPC];
		if (ours && theirs)
			snprintf(ratio, sizeof(ratio), "%.2f", ours / theirs);
		if (result->per_byte) {
			met = ours <= 1.1 * result->per_byte;
			snprintf(goal, sizeof(goal), "1.10 a byte: %.2f", ours / result->per_byte);
		} else if (result->goal) {
			met = theirs && ours <= result->goal * theirs;
			if (result->cost[PIPE])
				met &= ours <= result->cost[PIPE];
			snprintf(goal, sizeof(goal), "%.2f%s", result->goal,
				 result->base[RUST_IPC] ? " of the line above" :
				 result->cost[PIPE] ? " and pipes" : "");
		}
		printf("%-42s", result->name);
		for (int way = 0; way < WAYS; way++)
			print_cost(result->cost[way]);
		printf("  %5s  %s%s\n", ratio, goal,
		       !goal[0] || !ours ? "" : met ? ", met" : ", missed");
	}
	printf("\nInstructions of both ends under -icount, else nanoseconds; bytes where it says memory.\n");
	printf("A ratio is that of rust_ipc to C Binder, or to the line above.\n");
}

int main(int argc, char **argv)
{
	unsigned int settle = 20;
	cpu_set_t cpus;
	int option;

	while ((option = getopt(argc, argv, "qs:r:c:p:w:")) != -1) {
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
			quick = true;
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
		default:
			errx(2, "bench [-q] [-s SECONDS] [-r NODE] [-c NODE] [CASE...], or\n"
				"bench -p COUNT [-w WAY] [-s SECONDS] [-r NODE] [-c NODE] ROW");
		}
	}
	if (profile_count) {
		if (optind + 1 != argc)
			errx(2, "which row?");
		profile_row = argv[optind++];
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		err(1, "sched_setaffinity");
	payload = checked(aligned_alloc(4096, MAX_PAYLOAD));
	memset(payload, 0x5a, MAX_PAYLOAD);
	for (int i = 0; i < WAYS; i++) {
		if (ways[i].node && access(ways[i].node, R_OK | W_OK)) {
			printf("%s is not there: left out\n", ways[i].node);
			continue;
		}
		start(&ways[i]);
	}
	/* A machine that has just booted is busy with itself. */
	printf("settling for %u s\n", settle);
	sleep(settle);
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool wanted = optind == argc;

		for (int j = optind; j < argc; j++)
			wanted |= !strcmp(argv[j], cases[i].name);
		if (!wanted || profile_done)
			continue;
		if (!profile_row)
			printf("%s ...\n", cases[i].name);
		cases[i].run();
	}
	if (!profile_row)
		print_results();
	else if (!profile_done)
		errx(2, "there is no row '%s' for %s", profile_row, ways[profile_way].name);
	for (int i = 0; i < WAYS; i++)
		if (ways[i].server)
			kill(ways[i].server, SIGKILL);
	while (wait(NULL) > 0)
		;
	return 0;
}
