// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel has as inline functions only (the first one: without
 * CONFIG_MEMCG) or, the last one, not at all, and the kernel crate has no helpers
 * for. memcg.rs and lru.rs declare these to Rust.
 */

#include <linux/atomic.h>
#include <linux/build_bug.h>
#include <linux/list_lru.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/shrinker.h>
#include <linux/swap.h>

/* Expressions, which the bindings do not have: see lru.rs. */
static_assert(SHRINKER_NUMA_AWARE == 1 << 2);
static_assert(SHRINKER_MEMCG_AWARE == 1 << 3);
static_assert(SHRINK_EMPTY == ULONG_MAX - 1);

struct mem_cgroup *rust_ipc_get_mem_cgroup_from_mm(struct mm_struct *mm)
{
	return get_mem_cgroup_from_mm(mm);
}

bool rust_ipc_mem_cgroup_tryget(struct mem_cgroup *memcg)
{
	return mem_cgroup_tryget(memcg);
}

void rust_ipc_mem_cgroup_put(struct mem_cgroup *memcg)
{
	mem_cgroup_put(memcg);
}

struct mem_cgroup *rust_ipc_set_active_memcg(struct mem_cgroup *memcg)
{
	return set_active_memcg(memcg);
}

struct mem_cgroup *rust_ipc_page_memcg(struct page *page)
{
	return folio_memcg(page_folio(page));
}

void rust_ipc_account_reclaimed_pages(unsigned long pages)
{
	mm_account_reclaimed_pages(pages);
}

/* What list_lru_isolate() leaves to the walk, for an entry that the walk was not at. */
void rust_ipc_list_lru_uncount(struct list_lru *lru, int nid)
{
	atomic_long_dec(&lru->node[nid].nr_items);
}
