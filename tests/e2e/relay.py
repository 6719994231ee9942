#!/usr/bin/env python3
"""relay.py LISTEN_PORT TARGET_PORT CONTROL - a TCP relay whose link dies as told.

CONTROL is a file with a line for each connection to come (the last one serves for all further ones): "MODE BYTES", where MODE is
  pass     let everything through
  cut      close both sides cleanly after BYTES from the client
  reset    the same with a TCP reset
  stall    carry nothing more after BYTES from the client, in either direction, but keep the connection open
  answers  reset after BYTES from the server
  dribble  carry BYTES at a time
Prints one line for each connection when it ends: bytes from the client, bytes from the server."""
import os
import select
import socket
import struct
import sys
import threading


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def carry(client, target, mode, limit):
    server = socket.create_connection(("127.0.0.1", target))
    moved = {client: 0, server: 0}
    other = {client: server, server: client}
    counted = server if mode == "answers" else client
    piece = limit if mode == "dribble" else 1 << 16
    alive = [client, server]
    stalled = False
    while alive:
        ready, _, _ = select.select([] if stalled else alive, [], [], 600)
        if not ready:
            break
        for s in ready:
            room = piece
            if mode in ("cut", "reset", "stall", "answers") and s is counted:
                room = min(room, limit - moved[s])
            try:
                data = s.recv(room) if room > 0 else b""
            except OSError:
                data = b""
            moved[s] += len(data)
            if data:
                try:
                    other[s].sendall(data)
                except OSError:
                    alive = []
            elif room > 0:
                alive = []
            if mode in ("cut", "reset", "stall", "answers") and s is counted and moved[s] >= limit:
                if mode == "stall":
                    stalled = True
                    print("stalled", flush=True)
                else:
                    alive = []
    print("done", mode, moved[client], moved[server], flush=True)
    if mode == "cut":  # what was sent arrives: a close with unread answers would be a reset
        try:
            server.shutdown(socket.SHUT_WR)
            server.settimeout(10)
            while server.recv(1 << 16):
                pass
        except OSError:
            pass
    for s in (client, server):
        if mode in ("reset", "answers"):
            reset(s)
        else:
            s.close()


def main():
    listen, target, control = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", listen))
        s.listen(16)
        print("relaying", flush=True)
        while True:
            client, _ = s.accept()
            with open(control) as f:
                lines = f.read().splitlines()
            mode, limit = lines[0].split()
            if len(lines) > 1:
                with open(control, "w") as f:
                    f.write("\n".join(lines[1:]) + "\n")
            threading.Thread(target=carry, args=(client, target, mode, int(limit)), daemon=True).start()


main()
