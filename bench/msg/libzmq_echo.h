// DEALER and ROUTER as a C program would use them: one thread each, that does
// nothing else. The error of all of these is an errno.
#ifndef KITH_BENCH_LIBZMQ_ECHO_H
#define KITH_BENCH_LIBZMQ_ECHO_H

#include <stddef.h>
#include <stdint.h>

// Latencies are counted in buckets of so many nanoseconds.
#define ECHO_BUCKET 250
#define ECHO_BUCKETS (1 << 18)

// echo_secrets are Z85, or NULL for a connection that is not encrypted.
struct echo_secrets {
	const char *server, *public_key, *secret_key;
};

// echo_run is one load. phase is set by others: 0 is warming up, 1 counting, 2 over.
struct echo_run {
	int32_t phase;
	int callers;
	size_t size;
	uint64_t counts[ECHO_BUCKETS]; // the last has all that took longer
};

// echo_bind binds a ROUTER and writes where.
int echo_bind(void **router, const struct echo_secrets *secrets, char *endpoint, size_t room);
// echo_serve sends back what comes, until there is an error.
int echo_serve(void *router);
// echo_connect connects a DEALER.
int echo_connect(void **dealer, const struct echo_secrets *secrets, const char *endpoint);
// echo_ask keeps as many requests under way as there are callers, until the run is
// over.
int echo_ask(void *dealer, struct echo_run *run);

#endif
