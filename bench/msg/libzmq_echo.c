//go:build cgo && !kith_nozmq

#include "libzmq_echo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int set(void *s, int option, const char *text)
{
	return zmq_setsockopt(s, option, text, strlen(text));
}

static void *make(int kind)
{
	void *context = zmq_ctx_new();
	if (context == NULL)
		return NULL;
	int unlimited = 0;
	void *s = zmq_socket(context, kind);
	if (s == NULL)
		return NULL;
	zmq_setsockopt(s, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
	zmq_setsockopt(s, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
	return s;
}

int echo_bind(void **router, const struct echo_secrets *secrets, char *endpoint, size_t room)
{
	void *s = *router = make(ZMQ_ROUTER);
	if (s == NULL)
		return zmq_errno();
	int yes = 1;
	if (secrets->secret_key != NULL &&
	    (zmq_setsockopt(s, ZMQ_CURVE_SERVER, &yes, sizeof yes) < 0 || set(s, ZMQ_CURVE_SECRETKEY, secrets->secret_key) < 0))
		return zmq_errno();
	if (zmq_bind(s, "tcp://127.0.0.1:*") < 0 || zmq_getsockopt(s, ZMQ_LAST_ENDPOINT, endpoint, &room) < 0)
		return zmq_errno();
	return 0;
}

int echo_connect(void **dealer, const struct echo_secrets *secrets, const char *endpoint)
{
	void *s = *dealer = make(ZMQ_DEALER);
	if (s == NULL)
		return zmq_errno();
	if (secrets->secret_key != NULL &&
	    (set(s, ZMQ_CURVE_SERVERKEY, secrets->server) < 0 || set(s, ZMQ_CURVE_PUBLICKEY, secrets->public_key) < 0 ||
	     set(s, ZMQ_CURVE_SECRETKEY, secrets->secret_key) < 0))
		return zmq_errno();
	int patience = 10000; // a reply that takes longer is lost
	if (zmq_setsockopt(s, ZMQ_RCVTIMEO, &patience, sizeof patience) < 0 || zmq_connect(s, endpoint) < 0)
		return zmq_errno();
	return 0;
}

int echo_serve(void *router)
{
	for (;;) {
		zmq_msg_t route, body;
		zmq_msg_init(&route);
		zmq_msg_init(&body);
		if (zmq_msg_recv(&route, router, 0) < 0 || zmq_msg_recv(&body, router, 0) < 0 ||
		    zmq_msg_send(&route, router, ZMQ_SNDMORE) < 0 || zmq_msg_send(&body, router, 0) < 0) {
			int err = zmq_errno();
			if (err != EINTR) // a signal of Go's
				return err;
			zmq_msg_close(&route);
			zmq_msg_close(&body);
		}
	}
}

// send_request sends a body that begins with the caller's number.
static int send_request(void *dealer, const char *content, size_t size, uint32_t caller)
{
	zmq_msg_t m;
	if (zmq_msg_init_size(&m, size) < 0)
		return -1;
	memcpy(zmq_msg_data(&m), content, size);
	memcpy(zmq_msg_data(&m), &caller, sizeof caller);
	while (zmq_msg_send(&m, dealer, 0) < 0)
		if (zmq_errno() != EINTR) {
			zmq_msg_close(&m);
			return -1;
		}
	return 0;
}

static int receive(void *dealer, zmq_msg_t *m)
{
	while (zmq_msg_recv(m, dealer, 0) < 0)
		if (zmq_errno() != EINTR)
			return -1;
	return 0;
}

static int ask(void *dealer, struct echo_run *run, const char *content, int64_t *begun)
{
	for (int i = 0; i < run->callers; i++) {
		begun[i] = now();
		if (send_request(dealer, content, run->size, i) < 0)
			return zmq_errno();
	}
	for (int left = run->callers; left > 0;) {
		zmq_msg_t m;
		zmq_msg_init(&m);
		if (receive(dealer, &m) < 0)
			return zmq_errno();
		uint32_t caller;
		if (zmq_msg_size(&m) != run->size)
			return EPROTO;
		memcpy(&caller, zmq_msg_data(&m), sizeof caller);
		zmq_msg_close(&m);
		if (caller >= (uint32_t)run->callers)
			return EPROTO;
		int64_t at = now();
		int phase = __atomic_load_n(&run->phase, __ATOMIC_SEQ_CST);
		if (phase == 1) {
			int64_t bucket = (at - begun[caller]) / ECHO_BUCKET;
			run->counts[bucket < ECHO_BUCKETS ? bucket : ECHO_BUCKETS - 1]++;
		}
		if (phase == 2) {
			left--;
			continue;
		}
		begun[caller] = at;
		if (send_request(dealer, content, run->size, caller) < 0)
			return zmq_errno();
	}
	return 0;
}

int echo_ask(void *dealer, struct echo_run *run)
{
	char *content = calloc(1, run->size);
	int64_t *begun = calloc(run->callers, sizeof *begun);
	int err = ENOMEM;
	if (content != NULL && begun != NULL)
		err = run->size < sizeof(uint32_t) ? EINVAL : ask(dealer, run, content, begun);
	free(content);
	free(begun);
	return err;
}
