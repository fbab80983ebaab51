/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of the benchmark share. bench.c says what it measures. */
#ifndef BENCH_H
#define BENCH_H

#include <linux/android/binder.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define KIB		1024u
#define MIB		(1024u * 1024u)
#define SERVER_AREA	(4 * MIB)
#define CLIENT_AREA	(1 * MIB)
#define MAX_PAYLOAD	(1 * MIB)
#define MAX_BATCHES	15
/* Nodes that one reply brings. */
#define GIVEN_AT_ONCE	500u
#define ARRAY_FDS	8u

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* binder.c: one end of a Binder device. */

/* What a message asks of the server. */
enum op {
	OP_CALL = 1,	/* reply, and free the buffer */
	OP_HOLD,	/* reply, and keep the buffer */
	OP_FREE_HELD,	/* free what was kept, and reply */
	OP_GIVE,	/* reply with as many nodes as the payload says */
	OP_KEEP,	/* take a reference to the handle in the payload, and reply */
	OP_LEND,	/* reply with the handle that came last */
	OP_DROP,	/* give that reference back, and reply */
	OP_BACK,	/* call the handle in the payload, and reply */
	OP_FD,		/* close the descriptor in the payload, and reply */
	OP_FD_ARRAY,	/* close those in the array of the payload, and reply */
	OP_SIGNAL,	/* one-way: write a byte to the pipe */
};

/* Commands on their way to the driver. */
struct commands {
	uint8_t *bytes;
	size_t len, room;
};

struct end {
	int fd;
	void *area;
	size_t area_size;
	struct commands out;
	uint8_t in[4096];
	size_t in_len, in_at;
};

struct message {
	uint32_t handle;
	enum op op;
	const void *data;
	size_t size;
	/* Where the objects are. */
	const binder_size_t *offsets;
	size_t offset_count;
	/* If not 0, room for what pointer objects point at. */
	size_t buffers_size;
};

void put(struct commands *out, uint32_t command, const void *payload);
void put_u64(struct commands *out, uint32_t command, uint64_t value);
void put_u32(struct commands *out, uint32_t command, uint32_t value);
void put_death(struct commands *out, uint32_t command, uint32_t handle, uint64_t cookie);
void open_end(struct end *end, const char *node, size_t area);
void close_end(struct end *end);
/* The next return. What the driver wants an answer to gets it. */
uint32_t next_return(struct end *end, void *payload);
/* Writes what is to be written. */
void settle_end(struct end *end);
/* Calls. The reply's buffer is freed together with the next call. */
void call(struct end *end, const struct message *message);
void call_for(struct end *end, const struct message *message, struct binder_transaction_data *reply);
void send_oneway(struct end *end, const struct message *message);
/* Has the server give COUNT nodes, and keeps them. The last one's handle. */
uint32_t take_handles(struct end *end, uint32_t count);
/* The handle that the server was given last, with a reference to it. */
uint32_t borrow_handle(struct end *end);
/* Has the server take a reference to a node of this end's. */
void lend_node(struct end *end);
_Noreturn void serve_as_manager(const char *node, int signal_fd, int ready_fd);
/* Another process that serves, with so many threads, on CPU. */
pid_t start_server(const char *node, unsigned int threads, int cpu);

/* ways.c: the ways to send messages. */

enum { RUST_IPC, C_BINDER, SEQPACKET, PIPE, WAYS };

struct way {
	const char *name;
	const char *node;		/* of a Binder device */
	pid_t server;			/* 0: this way is not there */
	struct end end;
	int to, from;			/* of a pipe or a socket */
	int signal_fd;			/* where a one-way message may announce itself */
	bool packets;
};

extern struct way ways[WAYS];
extern uint8_t *payload;

/* Starts the far end, of a Binder device the context manager, on CPU. */
void start_way(struct way *way, int cpu);
void stop_way(struct way *way);
void round_trip_bytes(struct way *way, size_t size);
/* Tells the far end of a pipe how long the next messages are. */
void announce(struct way *way, uint32_t old_size, uint32_t size);

/* bench.c: measuring. */

/* How much is done: in full, a quick look, or what guards the budget. */
struct depth {
	unsigned int batches;
	unsigned int handles, buffers, files, mapped, threads;
	bool only_drivers;
	/* More points, for plots. */
	bool more;
};

extern struct depth depth;
/* The kernel has little else: more is asked for. */
extern bool is_small;

/* A row: what one step costs, for each way that can do it. */
struct result {
	char name[64];
	double cost[WAYS];	/* 0: not measured */
	double base[WAYS];	/* what cost is compared with, if not with C Binder's */
	double goal;		/* at most this share of C Binder's, or of base */
	double per_byte;	/* if not 0: at most 1.10 a byte, and this many bytes */
	bool bytes;		/* of memory, */
	double resolution;	/* and by how many a figure may be off */
	const char *plot;	/* the plot it belongs to, */
	double at;		/* and where on the axis */
};

struct result *add(double goal, const char *name, ...) __attribute__((format(printf, 2, 3)));

typedef void step_fn(struct way *way, const void *argument);

/* The median cost of a step, batch by batch, the ways from FIRST to LAST in turn. */
void measure(struct result *result, int first, int last, step_fn *step, const void *argument,
	     unsigned int steps);
/* The step of a call: ARGUMENT is a struct message. */
void step_call(struct way *way, const void *argument);

void *checked(void *memory);
uint64_t now(void);
double median(double *values, unsigned int count);
void pin(int cpu);
/* A number as people write it, with its thousands apart. */
const char *spelled(unsigned int number);
/* So many bytes, in the unit that suits them. */
const char *sized(unsigned int size);

/* cases.c and memory.c */

void case_calls(void);
void case_oneway(void);
void case_objects(void);
void case_nested(void);
void case_death(void);
void case_threads(void);
void case_processes(void);
void case_open(void);
void case_cold(void);
void case_memory(void);
void case_buffers(void);
void case_handles(void);


/* pairs.c: what pairs of processes that know nothing of each other cost each other. */
void case_pairs(void);

/* output.c */
void print_results(const struct result *results, unsigned int count, const char *unit);
void write_results(const char *path, const struct result *results, unsigned int count,
		   const char *unit);

#endif
