"""The Python package resilient-exporters as a peer: seed.py ROWS FILE COUNT prints the CPU that a record takes, in us.
With "evenly" for COUNT it sends a thousand a second until it is killed, and prints how many it has been given."""
import json
import sys
import time

from resilient_exporters import FileExporter

rows = [json.loads(line) for line in open(sys.argv[1])]
exporter = FileExporter(target_file=sys.argv[2], manual_reexport=True)
if sys.argv[3] == "evenly":
    started = time.monotonic()
    sent = 0
    while True:
        exporter.send(rows[sent % len(rows)])
        sent += 1
        print(sent, flush=True)
        time.sleep(max(0, started + sent / 1000 - time.monotonic()))
count = int(sys.argv[3])
started = time.process_time()
for i in range(count):
    exporter.send(rows[i % len(rows)])
exporter.stop()
print("cpu", (time.process_time() - started) * 1e6 / count)
