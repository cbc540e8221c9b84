"""The Python package resilient-exporters as a peer: seed_database.py mongodb|elasticsearch PORT ROWS COUNT sends so many
records, a request each, and prints how many were taken a second, and the CPU of each in us."""
import json
import sys
import time

kind, port, rows, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
rows = [json.loads(line) for line in open(rows)]
if kind == "mongodb":
    from resilient_exporters import MongoDBExporter

    exporter = MongoDBExporter(
        target_ip="127.0.0.1", target_port=port, default_db="bench", default_collection="seed"
    )
else:
    from resilient_exporters import ElasticSearchExporter

    exporter = ElasticSearchExporter(
        cluster_hosts=["http://127.0.0.1:%d" % port], sniff_on_start=False, default_index="seed"
    )
started, cpu = time.monotonic(), time.process_time()
for i in range(count):
    if not exporter.send(rows[i % len(rows)]).successful:
        sys.exit("record %d was not taken" % i)
print("rate", count / (time.monotonic() - started))
print("cpu", (time.process_time() - cpu) * 1e6 / count)
