"""A worker and a producer on the package `pyfaktory`, as `clients.rs` drives them.

worker URL LEDGER           appends the number of each job to the ledger, until it is told to end
push URL LEDGER FIRST COUNT DELAY_MS FAIL
                            pushes jobs, each until it is taken, and notes their numbers
"""
import datetime, os, sys, time

# A script's own folder comes first, and its name is that of the package.
sys.path.pop(0)
from pyfaktory import Client, Consumer, Job, Producer

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


def work():
    client = Client(faktory_url=url, role="consumer", beat_period=1, labels=["python", "test"])
    client.connect()
    consumer = Consumer(client=client, queues=["default"], concurrency=2, grace_period=5)
    consumer.register("note", note)
    consumer.run()


def push(number, delay_ms, fails):
    at = ""
    if delay_ms:
        due = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(milliseconds=delay_ms)
        at = due.isoformat()
    return Job(jid=f"job-{number:08}", jobtype="note", args=[number, fails], at=at)


if __name__ == "__main__":
    if role == "worker":
        work()
        sys.exit()
    first, count, delay_ms, fails = int(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]), sys.argv[7] == "fail"
    client = None
    for number in range(first, first + count):
        while True:
            try:
                if client is None:
                    client = Client(faktory_url=url, role="producer", timeout=5)
                    client.connect()
                Producer(client=client).push(push(number, delay_ms, fails))
                break
            except Exception as error:
                print(f"again: {error}", flush=True)
                client = None
                time.sleep(0.05)
        append(number)
