// A member of a group with KafkaJS, by the classic protocol. What it is asked and what it writes is
// described in tests/compat/matrix/events.rs. Runs with the folder of its packages as working
// directory. It tells of no generation.
const { createRequire } = require('node:module');

const local = createRequire(process.cwd() + '/');
const { Kafka, AssignerProtocol, logLevel } = local('kafkajs');

const asked = JSON.parse(process.argv[2]);

const say = (event, fields = {}) => {
  process.stdout.write(JSON.stringify({ event, ...fields }) + '\n');
};

// KafkaJS has one assignor, whose name no other client knows: this is Kafka's range.
const range = ({ cluster }) => ({
  name: 'range',
  version: 0,
  async assign({ members, topics }) {
    const shares = Object.fromEntries(members.map(({ memberId }) => [memberId, {}]));
    for (const topic of topics) {
      const readers = members
        .filter(({ memberMetadata }) =>
          AssignerProtocol.MemberMetadata.decode(memberMetadata).topics.includes(topic))
        .map(({ memberId }) => memberId)
        .sort();
      const parts = cluster.findTopicPartitionMetadata(topic).map((part) => part.partitionId);
      parts.sort((one, other) => one - other);
      readers.forEach((reader, number) => {
        const first = Math.ceil((number * parts.length) / readers.length);
        const end = Math.ceil(((number + 1) * parts.length) / readers.length);
        shares[reader][topic] = parts.slice(first, end);
      });
    }
    return Object.entries(shares).map(([memberId, assignment]) => ({
      memberId,
      memberAssignment: AssignerProtocol.MemberAssignment.encode({ version: 0, assignment }),
    }));
  },
  protocol({ topics }) {
    const metadata = { version: 0, topics, userData: Buffer.alloc(0) };
    return { name: 'range', metadata: AssignerProtocol.MemberMetadata.encode(metadata) };
  },
});

const kafka = new Kafka({
  clientId: asked.name,
  brokers: [asked.broker],
  logLevel: logLevel.ERROR,
  requestTimeout: 5000,
  retry: { initialRetryTime: 100, maxRetryTime: 500, retries: 100 },
});

let held = [];
const gone = (event) => {
  if (held.length > 0) say(event, { partitions: held });
  held = [];
};

// Reads until it is told to stop; gives the function that tells it so. KafkaJS gives up where a
// commit is refused because the group does not know the member any more, and leaves it to the
// program to begin anew.
async function begin() {
  const consumer = kafka.consumer({
    groupId: asked.group,
    sessionTimeout: asked.session_ms,
    rebalanceTimeout: asked.poll_ms,
    heartbeatInterval: asked.heartbeat_ms,
    metadataMaxAge: 1000,
    maxWaitTimeInMs: 200,
    partitionAssigners: [range],
  });
  let stop = () => consumer.disconnect();
  consumer.on(consumer.events.REBALANCING, () => gone('revoked'));
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    gone('lost');
    if (payload.restart) return;
    say('trouble', { text: `begins anew after ${payload.error.message}` });
    const next = begin();
    stop = async () => (await next)();
  });
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    gone('revoked');
    held = payload.memberAssignment[asked.topic] ?? [];
    say('assigned', { partitions: held });
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [asked.topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    async eachBatch({ batch, resolveOffset, heartbeat, isRunning, isStale }) {
      if (!isRunning() || isStale()) return;
      const { partition } = batch;
      let span = null;
      const tell = () => span && say('read', { partition, ...span, generation: null });
      for (const message of batch.messages) {
        const offset = Number(message.offset);
        if (span?.end !== offset) {
          tell();
          span = { first: offset, end: offset };
        }
        span.end = offset + 1;
      }
      tell();
      if (span === null) return;
      const next = { topic: asked.topic, partition, offset: String(span.end), metadata: asked.name };
      try {
        await consumer.commitOffsets([next]);
      } catch (error) {
        say('commit', { partition, offset: span.end, error: error.type ?? error.name });
        // The batch is not resolved: it comes again, to whoever owns it then.
        throw error;
      }
      say('commit', { partition, offset: span.end, error: null });
      resolveOffset(String(span.end - 1));
      await heartbeat();
    },
  });
  return () => stop();
}

async function main() {
  const stop = await begin();
  process.stdin.resume();
  await new Promise((resolve) => process.stdin.on('end', resolve));
  await stop();
  gone('revoked');
  say('left');
  // It may have left a connection open that it tried to make while the broker was gone.
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
