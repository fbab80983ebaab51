// SPDX-License-Identifier: GPL-2.0
/* The two ends of a Binder device: commands and returns, and a server. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench.h"

void put(struct commands *out, uint32_t command, const void *payload)
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

void put_u64(struct commands *out, uint32_t command, uint64_t value)
{
	put(out, command, &value);
}

void put_u32(struct commands *out, uint32_t command, uint32_t value)
{
	put(out, command, &value);
}

void put_death(struct commands *out, uint32_t command, uint32_t handle, uint64_t cookie)
{
	struct binder_handle_cookie what = { .handle = handle, .cookie = cookie };

	put(out, command, &what);
}

void open_end(struct end *end, const char *node, size_t area)
{
	struct binder_version version = { 0 };

	memset(end, 0, sizeof(*end));
	end->fd = open(node, O_RDWR | O_CLOEXEC);
	if (end->fd < 0 || ioctl(end->fd, BINDER_VERSION, &version))
		err(1, "%s", node);
	if (version.protocol_version != 8)
		errx(1, "%s speaks protocol %d", node, version.protocol_version);
	end->area_size = area;
	end->area = mmap(NULL, area, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, end->fd, 0);
	if (end->area == MAP_FAILED)
		err(1, "%s: mmap", node);
}

void close_end(struct end *end)
{
	munmap(end->area, end->area_size);
	close(end->fd);
	free(end->out.bytes);
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

uint32_t next_return(struct end *end, void *payload)
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
	case BR_DEAD_BINDER:
		put(&end->out, BC_DEAD_BINDER_DONE, bytes);
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

void settle_end(struct end *end)
{
	if (end->out.len)
		exchange(end, false);
}

static void put_message(struct commands *out, const struct message *message, uint32_t flags)
{
	struct binder_transaction_data_sg data = {
		.transaction_data = {
			.target.handle = message->handle,
			.code = message->op,
			.flags = flags,
			.data_size = message->size,
			.offsets_size = message->offset_count * sizeof(binder_size_t),
			.data.ptr.buffer = (uintptr_t)message->data,
			.data.ptr.offsets = (uintptr_t)message->offsets,
		},
		.buffers_size = message->buffers_size,
	};

	put(out, message->buffers_size ? BC_TRANSACTION_SG : BC_TRANSACTION, &data);
}

static void put_answer(struct commands *out)
{
	static const uint64_t answer;
	struct binder_transaction_data data = {
		.data_size = sizeof(answer),
		.data.ptr.buffer = (uintptr_t)&answer,
	};

	put(out, BC_REPLY, &data);
}

void call_for(struct end *end, const struct message *message, struct binder_transaction_data *reply)
{
	uint32_t returned;

	put_message(&end->out, message, 0);
	while ((returned = next_return(end, reply)) != BR_REPLY) {
		if (returned != BR_TRANSACTION)
			continue;
		/* Who was called calls back. */
		put_u64(&end->out, BC_FREE_BUFFER, reply->data.ptr.buffer);
		put_answer(&end->out);
	}
	put_u64(&end->out, BC_FREE_BUFFER, reply->data.ptr.buffer);
}

void call(struct end *end, const struct message *message)
{
	struct binder_transaction_data reply;

	call_for(end, message, &reply);
	if (reply.data_size != 8)
		errx(1, "a reply of %llu bytes", (unsigned long long)reply.data_size);
}

void send_oneway(struct end *end, const struct message *message)
{
	struct binder_transaction_data none;

	put_message(&end->out, message, TF_ONE_WAY);
	while (next_return(end, &none) != BR_TRANSACTION_COMPLETE)
		;
}

/* Calls for handles, and keeps them. The last one. */
static uint32_t take(struct end *end, const struct message *message, uint32_t count)
{
	struct binder_transaction_data reply;
	const struct flat_binder_object *objects;
	struct commands freeing;
	uint32_t last;

	settle_end(end);
	call_for(end, message, &reply);
	if (reply.data_size != count * sizeof(*objects))
		errx(1, "a reply of %llu bytes", (unsigned long long)reply.data_size);
	/* The references come before the buffer goes. */
	freeing = end->out;
	end->out = (struct commands){ 0 };
	objects = (const void *)(uintptr_t)reply.data.ptr.buffer;
	for (uint32_t i = 0; i < count; i++)
		put_u32(&end->out, BC_ACQUIRE, objects[i].handle);
	last = objects[count - 1].handle;
	settle_end(end);
	free(end->out.bytes);
	end->out = freeing;
	settle_end(end);
	return last;
}

uint32_t take_handles(struct end *end, uint32_t count)
{
	const struct message message = { .op = OP_CALL, .data = &count, .size = 8 };
	uint32_t handle = 0;

	while (count) {
		uint32_t now_count = count < GIVEN_AT_ONCE ? count : GIVEN_AT_ONCE;

		handle = take(end, &(struct message){ .op = OP_GIVE, .data = &now_count, .size = 4 },
			      now_count);
		count -= now_count;
	}
	/* The server has acknowledged the references when it serves this. */
	call(end, &message);
	call(end, &message);
	return handle;
}

uint32_t borrow_handle(struct end *end)
{
	return take(end, &(struct message){ .op = OP_LEND }, 1);
}

void lend_node(struct end *end)
{
	static const binder_size_t offset;
	struct flat_binder_object object = {
		.hdr.type = BINDER_TYPE_BINDER,
		.binder = 0x1000,
		.cookie = 0x2000,
	};

	call(end, &(struct message){
		.op = OP_KEEP, .data = &object, .size = sizeof(object),
		.offsets = &offset, .offset_count = 1,
	});
	settle_end(end);
}

/* What a server keeps, and to what it writes a byte on OP_SIGNAL. */
struct server {
	struct commands held;
	uint64_t given;
	uint32_t lent;
	int signal_fd;
};

/* Buffers that were held go in one piece, as one long write. */
static void free_held(struct end *end, struct server *server)
{
	struct commands out = end->out;

	end->out = server->held;
	settle_end(end);
	server->held = end->out;
	end->out = out;
}

static _Noreturn void serve(struct end *end, struct server *server)
{
	static binder_size_t offsets[GIVEN_AT_ONCE];
	static struct flat_binder_object nodes[GIVEN_AT_ONCE];
	static const uint64_t answer;

	put(&end->out, BC_ENTER_LOOPER, NULL);
	settle_end(end);
	for (;;) {
		struct binder_transaction_data call_data;
		struct binder_transaction_data reply = {
			.data_size = sizeof(answer),
			.data.ptr.buffer = (uintptr_t)&answer,
			.data.ptr.offsets = (uintptr_t)offsets,
		};
		const struct flat_binder_object *object;
		uint32_t count = 0;
		bool hold = false;

		if (next_return(end, &call_data) != BR_TRANSACTION)
			continue;
		object = (const void *)(uintptr_t)call_data.data.ptr.buffer;
		switch (call_data.code) {
		case OP_HOLD:
			hold = true;
			break;
		case OP_FREE_HELD:
			free_held(end, server);
			break;
		case OP_GIVE:
			count = *(const uint32_t *)object;
			for (uint32_t i = 0; i < count; i++)
				nodes[i] = (struct flat_binder_object){
					.hdr.type = BINDER_TYPE_BINDER,
					.binder = ++server->given * 16,
					.cookie = server->given,
				};
			break;
		case OP_KEEP:
			server->lent = object->handle;
			put_u32(&end->out, BC_ACQUIRE, server->lent);
			break;
		case OP_LEND:
			nodes[0] = (struct flat_binder_object){
				.hdr.type = BINDER_TYPE_HANDLE, .handle = server->lent,
			};
			count = 1;
			break;
		case OP_DROP:
			put_u32(&end->out, BC_RELEASE, server->lent);
			break;
		case OP_BACK:
			call(end, &(struct message){
				.handle = object->handle, .op = OP_CALL, .data = &answer, .size = 8,
			});
			break;
		case OP_FD:
			close(((const struct binder_fd_object *)object)->fd);
			break;
		case OP_FD_ARRAY: {
			const struct binder_buffer_object *array = (const void *)((const uint64_t *)object + 1);
			const uint32_t *fds = (const void *)(uintptr_t)array->buffer;

			for (unsigned int i = 0; i < ARRAY_FDS; i++)
				close(fds[i]);
			break;
		}
		case OP_SIGNAL:
			write(server->signal_fd, "", 1);
			break;
		default:
			break;
		}
		put_u64(hold ? &server->held : &end->out, BC_FREE_BUFFER,
			call_data.data.ptr.buffer);
		if (count) {
			for (uint32_t i = 0; i < count; i++)
				offsets[i] = i * sizeof(nodes[0]);
			reply.data_size = count * sizeof(nodes[0]);
			reply.data.ptr.buffer = (uintptr_t)nodes;
			reply.offsets_size = count * sizeof(offsets[0]);
		}
		if (!(call_data.flags & TF_ONE_WAY))
			put(&end->out, BC_REPLY, &reply);
	}
}

_Noreturn void serve_as_manager(const char *node, int signal_fd, int ready_fd)
{
	static struct server server;
	struct end end;

	server.signal_fd = signal_fd;
	open_end(&end, node, SERVER_AREA);
	if (ioctl(end.fd, BINDER_SET_CONTEXT_MGR_EXT,
		  &(struct flat_binder_object){ .flags = FLAT_BINDER_FLAG_ACCEPTS_FDS }))
		err(1, "%s: becoming the context manager", node);
	write(ready_fd, "", 1);
	serve(&end, &server);
}

/* One more thread of a server, beside that which opened the device. */
static void *serve_too(void *opened)
{
	struct server server = { 0 };
	struct end end = { .fd = ((struct end *)opened)->fd };

	serve(&end, &server);
}

pid_t start_server(const char *node, unsigned int threads, int cpu)
{
	pid_t server;
	int ready[2];
	char byte;

	if (pipe(ready))
		err(1, "pipe");
	server = fork();
	if (server < 0)
		err(1, "fork");
	if (!server) {
		static struct server state;
		pthread_attr_t attributes;
		struct end end;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(cpu);
		open_end(&end, node, CLIENT_AREA);
		lend_node(&end);
		pthread_attr_init(&attributes);
		pthread_attr_setstacksize(&attributes, 64 * KIB);
		for (unsigned int i = 1; i < threads; i++) {
			pthread_t thread;

			if (pthread_create(&thread, &attributes, serve_too, &end))
				errx(1, "no more threads");
		}
		write(ready[1], "", 1);
		serve(&end, &state);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		errx(1, "a server did not start");
	close(ready[0]);
	return server;
}
