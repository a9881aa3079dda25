#!/usr/bin/env python3
"""Talks to a kith node with nothing but pyzmq (Debian: python3-zmq).

    client.py tcp://127.0.0.1:7000 call SUBJECT [BODY]
    client.py tcp://127.0.0.1:7000 subscribe PREFIX [COUNT]

When the cluster has a key, the environment says how to connect (CURVE):
KITH_SERVER_KEY, KITH_CLIENT_KEY (public) and KITH_CLIENT_SECRET.
docs/wire.md explains the format.
"""
import os
import struct
import sys

import zmq

REQUEST, REPLY, ERROR, PUBLICATION, SUBSCRIBE, SUBSCRIBED, LAG = 1, 2, 3, 6, 7, 9, 10
REFUSAL, OURS = 132, 128  # from 128 on: the nodes' own


class Failed(Exception):
    pass


class Node:
    def __init__(self, endpoint, timeout=10.0):
        self.timeout = timeout
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.rcvtimeo = int(timeout * 1000)
        if "KITH_SERVER_KEY" in os.environ:
            self.socket.curve_serverkey = os.environ["KITH_SERVER_KEY"].encode()
            self.socket.curve_publickey = os.environ["KITH_CLIENT_KEY"].encode()
            self.socket.curve_secretkey = os.environ["KITH_CLIENT_SECRET"].encode()
        self.socket.connect(endpoint)
        self.last = 0

    def send(self, kind, subject, body=b"", value=0):
        self.last += 1
        name = subject.encode()
        head = struct.pack(">BBQIH", kind, 0, self.last, value, len(name)) + name
        self.socket.send_multipart([head, body])
        return self.last

    def receive(self):
        while True:
            head, *body = self.socket.recv_multipart()
            if head[0] == REFUSAL:
                raise Failed("refused: " + head[2:].decode())
            if head[0] < OURS:
                break
        kind, _, id, value, length = struct.unpack_from(">BBQIH", head)
        return kind, id, value, head[16:16 + length].decode(), b"".join(body)

    def call(self, subject, body=b""):
        """Calls a handler and returns its reply."""
        sent = self.send(REQUEST, subject, body, value=int(self.timeout * 1000))
        while True:
            kind, id, status, code, reply = self.receive()
            if id == sent and kind == REPLY:
                return reply
            if id == sent and kind == ERROR:
                raise Failed(f"status {status} {code}: {reply.decode()}")

    def subscribe(self, prefix):
        """Yields topic and body of what the node publishes; None when some was lost."""
        sent = self.send(SUBSCRIBE, prefix)
        while True:
            kind, id, _, topic, body = self.receive()
            if kind == PUBLICATION:
                yield topic, body
            elif kind == LAG:
                yield None, str(id).encode()
            elif kind == SUBSCRIBED and id == sent:
                print("subscribed", flush=True)


def main(endpoint, verb, subject, extra=None):
    node = Node(endpoint)
    if verb == "call":
        print(node.call(subject, (extra or "").encode()).decode())
    else:
        for n, (topic, body) in enumerate(node.subscribe(subject), 1):
            print("lost" if topic is None else topic, body.decode(), flush=True)
            if extra and n == int(extra):
                return


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5) or sys.argv[2] not in ("call", "subscribe"):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except zmq.Again:
        sys.exit("no answer in time: wrong address, wrong keys, or nothing to tell")
    except Failed as failure:
        sys.exit(str(failure))
