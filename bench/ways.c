// SPDX-License-Identifier: GPL-2.0
/* The ways to send messages, and the far ends of those that are not Binder's. */
#include <err.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

struct way ways[WAYS] = {
	[RUST_IPC] = { .name = "rust_ipc", .node = "/dev/rust_ipc" },
	[C_BINDER] = { .name = "C Binder", .node = "/dev/binder" },
	[SEQPACKET] = { .name = "SEQPACKET", .packets = true },
	[PIPE] = { .name = "pipes" },
};

uint8_t *payload;

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

void round_trip_bytes(struct way *way, size_t size)
{
	uint64_t answer;

	write_all(way->to, payload, size);
	read_all(way->from, (uint8_t *)&answer, sizeof(answer));
}

void announce(struct way *way, uint32_t old_size, uint32_t size)
{
	if (!way->server)
		return;
	memcpy(payload, "size", 4);
	memcpy(payload + 4, &size, 4);
	round_trip_bytes(way, old_size);
	memset(payload, 0, 8);
}

void start_way(struct way *way, int cpu)
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
		pin(cpu);
		if (way->node)
			serve_as_manager(way->node, signal_pipe[1], ready[1]);
		write(ready[1], "", 1);
		serve_bytes(way, there[0], back[1]);
	}
	close(ready[1]);
	close(signal_pipe[1]);
	if (read(ready[0], &byte, 1) != 1)
		exit(1);
	close(ready[0]);
	way->signal_fd = signal_pipe[0];
	if (way->node) {
		open_end(&way->end, way->node, CLIENT_AREA);
		return;
	}
	way->to = there[1];
	way->from = back[0];
	close(there[0]);
	if (!way->packets)
		close(back[1]);
}

void stop_way(struct way *way)
{
	kill(way->server, SIGKILL);
	waitpid(way->server, NULL, 0);
	way->server = 0;
	close(way->signal_fd);
	if (way->node) {
		close_end(&way->end);
		return;
	}
	close(way->to);
	if (!way->packets)
		close(way->from);
}
