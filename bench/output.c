// SPDX-License-Identifier: GPL-2.0
/* The table, and the same for programs. */
#include <err.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <time.h>

#include "bench.h"

static void print_cost(double cost)
{
	if (cost)
		printf(" %11.0f", cost);
	else
		printf(" %11s", "-");
}

/* What this driver's figure is compared with, or 0. */
static double theirs(const struct result *result)
{
	return result->base[RUST_IPC] ? result->base[RUST_IPC] : result->cost[C_BINDER];
}

/* Is there a goal that can be judged? */
static bool judged(const struct result *result)
{
	return result->cost[RUST_IPC] && (result->per_byte || (result->goal && theirs(result)));
}

/* Is it to be no dearer than pipes, too? */
static bool beats_pipes(const struct result *result)
{
	return result->goal < 1 && result->cost[PIPE] && !is_small;
}

static bool met(const struct result *result)
{
	double ours = result->cost[RUST_IPC];

	if (result->per_byte)
		return ours <= 1.1 * result->per_byte;
	if (beats_pipes(result) && ours > result->cost[PIPE])
		return false;
	return ours <= result->goal * theirs(result);
}

void print_results(const struct result *results, unsigned int count, const char *unit)
{
	printf("\n%-44s", "");
	for (int i = 0; i < WAYS; i++)
		printf(" %11s", ways[i].name);
	printf("  ratio  goal\n");
	for (unsigned int i = 0; i < count; i++) {
		const struct result *result = &results[i];
		double ours = result->cost[RUST_IPC];
		char goal[64] = "", ratio[32] = "";

		if (ours && theirs(result))
			snprintf(ratio, sizeof(ratio), "%.2f", ours / theirs(result));
		if (result->per_byte)
			snprintf(goal, sizeof(goal), "1.10 a byte: %.2f, ", ours / result->per_byte);
		else if (result->goal)
			snprintf(goal, sizeof(goal), "%.2f%s, ", result->goal,
				 result->base[RUST_IPC] ? " of the least" :
				 beats_pipes(result) ? " and pipes" : "");
		printf("%-44s", result->name);
		for (int way = 0; way < WAYS; way++)
			print_cost(result->cost[way]);
		printf("  %5s  %s%s\n", ratio, goal,
		       !judged(result) ? "" : met(result) ? "met" : "missed");
	}
	printf("\nThe unit: %s of both ends; bytes where it says memory. A ratio is that of rust_ipc\n"
	       "to %s, or to the row with the least that is held.\n", unit, ways[C_BINDER].name);
}

/* No name has a character that JSON would want escaped. */
static void write_costs(FILE *file, const char *name, const double *costs)
{
	const char *separator = "";

	fprintf(file, "\"%s\": {", name);
	for (int i = 0; i < WAYS; i++) {
		if (!costs[i])
			continue;
		fprintf(file, "%s\"%s\": %.1f", separator, ways[i].name, costs[i]);
		separator = ", ";
	}
	fprintf(file, "}");
}

void write_results(const char *path, const struct result *results, unsigned int count,
		   const char *unit)
{
	FILE *file = fopen(path, "w");
	struct utsname kernel;
	time_t seconds = time(NULL);
	char date[64];

	if (!file || uname(&kernel))
		err(1, "%s", path);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime(&seconds));
	fprintf(file, "{\n\"kernel\": \"%s\",\n\"date\": \"%s\",\n\"batches\": %u,\n\"rows\": [\n",
		kernel.release, date, depth.batches);
	for (unsigned int i = 0; i < count; i++) {
		const struct result *result = &results[i];

		fprintf(file, "{\"name\": \"%s\", \"unit\": \"%s\", ", result->name,
			result->bytes ? "bytes" : unit);
		write_costs(file, "cost", result->cost);
		if (result->base[RUST_IPC]) {
			fprintf(file, ", ");
			write_costs(file, "base", result->base);
		}
		if (result->cost[RUST_IPC] && theirs(result))
			fprintf(file, ", \"ratio\": %.4f", result->cost[RUST_IPC] / theirs(result));
		if (result->per_byte)
			fprintf(file, ", \"goal_per_byte\": 1.1");
		else if (result->goal)
			fprintf(file, ", \"goal\": %.2f", result->goal);
		if (judged(result))
			fprintf(file, ", \"met\": %s", met(result) ? "true" : "false");
		if (result->resolution)
			fprintf(file, ", \"resolution\": %.1f", result->resolution);
		if (result->plot)
			fprintf(file, ", \"plot\": \"%s\", \"at\": %.0f", result->plot, result->at);
		fprintf(file, "}%s\n", i + 1 < count ? "," : "");
	}
	fprintf(file, "]\n}\n");
	if (fclose(file))
		err(1, "%s", path);
}
