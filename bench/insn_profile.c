// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU's: how often each block of guest code was executed, and
 * after which.
 *
 *	qemu-system-x86_64 ... -plugin insn_profile.so,out=FILE
 *
 * At the end FILE has a line a block: its address (hexadecimal), its length in
 * instructions, how many of those are locked, and its executions; and a line
 * "> ADDRESS BEFORE COUNT" for each block that was executed before it. No
 * distribution ships the header of the plugin interface, so that what is used
 * of it (version 4) is declared here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

enum { QEMU_PLUGIN_CB_NO_REGS = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
	void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
	void (*callback)(unsigned int vcpu, void *data), int flags, void *data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
	void (*callback)(qemu_plugin_id_t, void *), void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *data, size_t size);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);

#define PUBLIC __attribute__((visibility("default")))

PUBLIC int qemu_plugin_version = 4;

/* A block that was executed before another one. */
struct before {
	struct before *next;
	uint64_t address, count;
};

/* A block that was translated; each time anew. */
struct block {
	struct block *next;
	struct before *before;
	uint64_t address, instructions, locked, executions;
};

static struct block *blocks;
static uint64_t latest;
static const char *path = "insn_profile.txt";

static void *allocate(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		abort();
	return memory;
}

/* The one that was found last comes first, where most are found again. */
static struct before *find_before(struct block *block, uint64_t address)
{
	struct before **link = &block->before, *found;

	while ((found = *link) && found->address != address)
		link = &found->next;
	if (found) {
		*link = found->next;
	} else {
		found = allocate(sizeof(*found));
		found->address = address;
	}
	found->next = block->before;
	block->before = found;
	return found;
}

static void executed(unsigned int vcpu, void *data)
{
	struct block *block = data;

	(void)vcpu;
	block->executions++;
	find_before(block, latest)->count++;
	latest = block->address;
}

/* Has it a LOCK prefix, or is it an XCHG with memory, which needs none? */
static bool is_locked(const struct qemu_plugin_insn *insn)
{
	uint8_t bytes[16];
	size_t size = qemu_plugin_insn_data(insn, bytes, sizeof(bytes));

	for (size_t i = 0; i < size; i++) {
		switch (bytes[i]) {
		case 0xf0:
			return true;
		case 0x2e: case 0x36: case 0x3e: case 0x26: case 0x64: case 0x65:
		case 0x66: case 0x67: case 0xf2: case 0xf3:
		case 0x40 ... 0x4f:
			continue;
		case 0x86: case 0x87:
			return i + 1 < size && bytes[i + 1] < 0xc0;
		default:
			return false;
		}
	}
	return false;
}

/* QEMU translates under a lock of its own where there is one virtual CPU. */
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	struct block *block = allocate(sizeof(*block));

	(void)id;
	block->address = qemu_plugin_tb_vaddr(tb);
	block->instructions = qemu_plugin_tb_n_insns(tb);
	for (size_t i = 0; i < block->instructions; i++)
		block->locked += is_locked(qemu_plugin_tb_get_insn(tb, i));
	block->next = blocks;
	blocks = block;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS, block);
}

static void at_exit(qemu_plugin_id_t id, void *data)
{
	FILE *file = fopen(path, "w");

	(void)id;
	(void)data;
	if (!file) {
		perror(path);
		return;
	}
	for (struct block *block = blocks; block; block = block->next) {
		if (!block->executions)
			continue;
		fprintf(file, "%" PRIx64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", block->address,
			block->instructions, block->locked, block->executions);
		for (struct before *before = block->before; before; before = before->next)
			fprintf(file, "> %" PRIx64 " %" PRIx64 " %" PRIu64 "\n", block->address,
				before->address, before->count);
	}
	fclose(file);
}

PUBLIC int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], "out=", 4))
			path = strdup(argv[i] + 4);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, at_exit, NULL);
	return 0;
}
