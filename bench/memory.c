// SPDX-License-Identifier: GPL-2.0
/*
 * The cases about what is held: how much of the kernel's memory, and what a
 * call costs beside it.
 *
 * The kernel's caches keep what was freed. They are told to give it up, and a
 * first share of the things that are counted is made before anything is
 * measured, to use up what they could not.
 */
#include <err.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define FEW	10u
/* What the kernel's caches grow by. */
#define SLAB	32768.0

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

/* Makes things from number FROM up to TO. */
typedef void make_fn(struct way *way, unsigned int from, unsigned int to, void *argument);

/* Has the kernel's caches give up what nobody uses. */
static void shrink_caches(void)
{
	glob_t caches;

	if (glob("/sys/kernel/slab/*/shrink", 0, NULL, &caches))
		return;
	for (size_t i = 0; i < caches.gl_pathc; i++) {
		int fd = open(caches.gl_pathv[i], O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, "1", 1) != 1)
			warn("%s", caches.gl_pathv[i]);
		close(fd);
	}
	globfree(&caches);
}

/* Makes COUNT things, of which there are HELD, and tells what one of them takes. */
static void grow(struct result *result, make_fn *make, struct way *way, unsigned int held,
		 unsigned int count, void *argument)
{
	unsigned int first = held + (count - held) / 5;
	double bytes;

	shrink_caches();
	make(way, held, first, argument);
	bytes = kernel_bytes();
	make(way, first, count, argument);
	result->cost[way - ways] = (kernel_bytes() - bytes) / (count - first);
	result->resolution = SLAB / (count - first);
}

static void make_files(struct way *way, unsigned int from, unsigned int to, void *fds)
{
	for (unsigned int i = from; i < to; i++) {
		((int *)fds)[i] = open(way->node, O_RDWR | O_CLOEXEC);
		if (((int *)fds)[i] < 0)
			err(1, "%s", way->node);
	}
}

static void make_ends(struct way *way, unsigned int from, unsigned int to, void *ends)
{
	for (unsigned int i = from; i < to; i++)
		open_end((struct end *)ends + i, way->node, MIB);
}

/* Threads that wait until they shall enter the driver, in their order. */
struct visitors {
	pthread_mutex_t lock;
	pthread_cond_t called, progress;	/* what they wait for; what is waited for */
	unsigned int started, admitted, entered;
	bool leave;
	int fd;
};

static void *visit(void *shared)
{
	struct visitors *visitors = shared;
	unsigned int number;
	uint32_t command = BC_ENTER_LOOPER;
	struct binder_write_read bwr = {
		.write_size = sizeof(command),
		.write_buffer = (uintptr_t)&command,
	};

	pthread_mutex_lock(&visitors->lock);
	number = visitors->started++;
	pthread_cond_signal(&visitors->progress);
	while (number >= visitors->admitted)
		pthread_cond_wait(&visitors->called, &visitors->lock);
	if (ioctl(visitors->fd, BINDER_WRITE_READ, &bwr))
		err(1, "BC_ENTER_LOOPER");
	visitors->entered++;
	pthread_cond_signal(&visitors->progress);
	while (!visitors->leave)
		pthread_cond_wait(&visitors->called, &visitors->lock);
	pthread_mutex_unlock(&visitors->lock);
	return NULL;
}

static void admit(struct way *way, unsigned int from, unsigned int to, void *shared)
{
	struct visitors *visitors = shared;

	(void)way;
	(void)from;
	pthread_mutex_lock(&visitors->lock);
	visitors->admitted = to;
	pthread_cond_broadcast(&visitors->called);
	while (visitors->entered < to)
		pthread_cond_wait(&visitors->progress, &visitors->lock);
	pthread_mutex_unlock(&visitors->lock);
}

static void measure_threads(struct result *result, struct way *way, unsigned int count)
{
	pthread_t *threads = checked(calloc(count, sizeof(*threads)));
	struct visitors visitors = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.called = PTHREAD_COND_INITIALIZER,
		.progress = PTHREAD_COND_INITIALIZER,
	};
	pthread_attr_t attributes;
	struct end end;

	open_end(&end, way->node, CLIENT_AREA);
	visitors.fd = end.fd;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 * KIB);
	for (unsigned int i = 0; i < count; i++)
		if (pthread_create(&threads[i], &attributes, visit, &visitors))
			errx(1, "no more threads");
	pthread_mutex_lock(&visitors.lock);
	while (visitors.started < count)
		pthread_cond_wait(&visitors.progress, &visitors.lock);
	pthread_mutex_unlock(&visitors.lock);
	grow(result, admit, way, 0, count, &visitors);
	pthread_mutex_lock(&visitors.lock);
	visitors.leave = true;
	pthread_cond_broadcast(&visitors.called);
	pthread_mutex_unlock(&visitors.lock);
	for (unsigned int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	close_end(&end);
	free(threads);
}

void case_memory(void)
{
	struct result *file = add(1.0, "memory of an open file");
	struct result *mapped = add(1.0, "memory of an open file, 1 MiB mapped");
	struct result *thread = add(1.0, "memory of a thread");
	int *fds = checked(calloc(depth.files, sizeof(*fds)));
	struct end *ends = checked(calloc(depth.mapped, sizeof(*ends)));

	file->bytes = mapped->bytes = thread->bytes = true;
	for (int i = RUST_IPC; i <= C_BINDER; i++) {
		if (!ways[i].server)
			continue;
		grow(file, make_files, &ways[i], 0, depth.files, fds);
		for (unsigned int j = 0; j < depth.files; j++)
			close(fds[j]);
		sleep(1);
		grow(mapped, make_ends, &ways[i], 0, depth.mapped, ends);
		for (unsigned int j = 0; j < depth.mapped; j++)
			close_end(&ends[j]);
		sleep(1);
		measure_threads(thread, &ways[i], depth.threads);
		sleep(1);
	}
	free(fds);
	free(ends);
}

static void hold_buffers(struct way *way, unsigned int from, unsigned int to, void *argument)
{
	struct message hold = { .op = OP_HOLD, .data = payload, .size = 128 };

	(void)argument;
	for (unsigned int i = from; i < to; i++)
		call(&way->end, &hold);
}

static void hold_handles(struct way *way, unsigned int from, unsigned int to, void *last)
{
	*(uint32_t *)last = take_handles(&way->end, to - from);
}

/*
 * What a call costs while things are held: FEW, and ever more of them up to
 * MOST; and what each takes. MAKE takes more of them, and leaves in its
 * argument which handle to call.
 */
static void beside(const char *text, const char *plot, make_fn *make, unsigned int most,
		   const char *memory_text)
{
	struct message message = { .op = OP_CALL, .data = payload, .size = 128 };
	struct result *few = add(0, text, spelled(FEW)), *rows[8] = { few }, *memory;
	unsigned int counts[8] = { FEW }, count = 1;

	for (unsigned int held = 10 * FEW; depth.more && held < most; held *= 10) {
		counts[count] = held;
		rows[count++] = add(0, text, spelled(held));
	}
	counts[count] = most;
	rows[count++] = add(1.1, text, spelled(most));
	memory = add(1.0, "%s", memory_text);
	memory->bytes = true;
	for (unsigned int j = 0; j < count; j++) {
		rows[j]->plot = plot;
		rows[j]->at = counts[j];
	}
	for (int i = RUST_IPC; i <= C_BINDER; i++) {
		unsigned int held = 0;

		if (!ways[i].server)
			continue;
		message.handle = 0;
		for (unsigned int j = 0; j < count; j++) {
			if (j == count - 1)
				grow(memory, make, &ways[i], held, most, &message.handle);
			else
				make(&ways[i], held, counts[j], &message.handle);
			held = counts[j];
			/* What is freed late is freed by then. */
			sleep(1);
			measure(rows[j], i, i, step_call, &message, 300);
		}
		rows[count - 1]->base[i] = few->cost[i];
	}
}

void case_handles(void)
{
	beside("call by handle, %s held", "handles", hold_handles, depth.handles,
	       "memory of a node and its handle");
}

void case_buffers(void)
{
	struct message release = { .op = OP_FREE_HELD, .data = payload, .size = 8 };

	beside("call, %s live buffers", "buffers", hold_buffers, depth.buffers,
	       "memory of a live buffer, but for its pages");
	for (int i = RUST_IPC; i <= C_BINDER; i++)
		if (ways[i].server)
			call(&ways[i].end, &release);
}
