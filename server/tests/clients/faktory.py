"""A worker and a producer on the package `faktory`, as `clients.rs` drives them.

worker URL LEDGER           appends the number of each job to the ledger, until it is told to end
push URL LEDGER FIRST COUNT DELAY_MS FAIL
                            pushes jobs, each until it is taken, and notes their numbers
"""
import datetime, os, sys, time

# A script's own folder comes first, and its name is that of the package.
sys.path.pop(0)
from faktory import Client, Worker

role, url, ledger = sys.argv[1:4]


def append(number):
    file = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{number}\n".encode())
    os.close(file)


def note(number, fails):
    marker = f"{ledger}.failed-{number}"
    if fails and not os.path.exists(marker):
        open(marker, "w").close()
        raise ValueError("once")
    append(number)


if __name__ == "__main__":
    if role == "worker":
        Worker.send_heartbeat_every = 1
        worker = Worker(faktory=url, queues=["default"], concurrency=2, use_threads=True)
        worker.register("note", note)
        worker.run()
        sys.exit()
    first, count, delay_ms, fails = int(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]), sys.argv[7] == "fail"
    client = None
    for number in range(first, first + count):
        while True:
            try:
                if client is None:
                    client = Client(faktory=url, timeout=5)
                    client.connect()
                due = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(milliseconds=delay_ms)
                at = due.isoformat() if delay_ms else None
                taken = client.queue("note", args=[number, fails], jid=f"job-{number:08}", at=at)
                assert taken, "refused"
                break
            except Exception as error:
                print(f"again: {error}", flush=True)
                client = None
                time.sleep(0.05)
        append(number)
