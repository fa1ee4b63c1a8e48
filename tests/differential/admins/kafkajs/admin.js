// KafkaJS's admin client: each call once, a line of JSON for each: {"call": ..., "answer": ...}.
// Usage: admin.js BROKER. Runs with the folder of its packages as working directory.
const { createRequire } = require('node:module');

const local = createRequire(process.cwd() + '/');
const kafkajs = local('kafkajs');
const { Kafka, logLevel, ConfigResourceTypes } = kafkajs;
const [TOPIC, OTHER, ABSENT, GROUP] = ['js-topic', 'js-other', 'js-absent', 'js-group'];
const FIRST = 1500000000000;
const LIMIT_MS = 30000;

const kafka = new Kafka({
  clientId: 'admin',
  brokers: [process.argv[2]],
  logLevel: logLevel.NOTHING,
  retry: { retries: 2 },
});
const admin = kafka.admin();

// Numbers of 64 bits have no form in JSON; the order of keys and the text of stacks mean nothing.
function plain(value) {
  if (typeof value === 'bigint') return value.toString();
  if (Buffer.isBuffer(value)) return value.toString('hex');
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== 'object') return value;
  const keys = Object.keys(value).sort();
  return Object.fromEntries(keys.map((key) => [key, plain(value[key])]));
}

function fault(error) {
  const inner = (error.errors ?? []).map(fault);
  return { error: error.name, type: error.type, text: error.message, inner };
}

async function make(call, attempt) {
  let answer;
  try {
    answer = plain((await attempt()) ?? null);
  } catch (error) {
    answer = plain(fault(error));
  }
  console.log(JSON.stringify({ call, answer }));
  if (/^(create|alter|deleteTopics)/.test(call)) await settle();
}

// Until a topic is known that is made after everything before: Apache Kafka's parts learn of a
// change one after another.
let settled = 0;
async function settle() {
  const name = `settled-js-${settled}`;
  settled += 1;
  await admin.createTopics({ topics: [{ topic: name, numPartitions: 1 }] });
  await within(LIMIT_MS, async () => {
    if (!(await admin.listTopics()).includes(name)) throw new Error(`no ${name}`);
  });
}

// Ten records in each partition, and a group that has read four of each.
async function fill() {
  const producer = kafka.producer();
  await producer.connect();
  const messages = [];
  for (let partition = 0; partition < 3; partition += 1) {
    for (let number = 0; number < 10; number += 1) {
      messages.push({ partition, value: `record ${number}`, timestamp: String(FIRST + number) });
    }
  }
  await producer.send({ topic: TOPIC, messages });
  await producer.disconnect();
  const partitions = [0, 1, 2].map((partition) => ({ partition, offset: '4', metadata: 'noted' }));
  await within(LIMIT_MS, () => admin.setOffsets({ groupId: GROUP, topic: TOPIC, partitions }));
}

// Apache Kafka's coordinator says no until it has loaded.
async function within(limit, attempt) {
  const deadline = Date.now() + limit;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}

const topic = (name) => ({ type: ConfigResourceTypes.TOPIC, name });
const change = (name, ...entries) => ({
  validateOnly: false,
  resources: [
    { ...topic(name), configEntries: entries.map(([key, value]) => ({ name: key, value })) },
  ],
});
const ours = (name) => name.startsWith('js-');

async function main() {
  await admin.connect();
  const topics = [
    { topic: TOPIC, numPartitions: 3, configEntries: [{ name: 'retention.ms', value: '-1' }] },
    { topic: OTHER, replicaAssignment: [0, 1].map((partition) => ({ partition, replicas: [1] })) },
  ];
  await make('describeCluster', () => admin.describeCluster());
  await make('createTopics, checked only', () => admin.createTopics({ validateOnly: true, waitForLeaders: false, topics }));
  await make('createTopics', () => admin.createTopics({ topics }));
  await make('createTopics, again', () => admin.createTopics({ topics }));
  await make('createTopics, wrong', () => admin.createTopics({ topics: [{ topic: 'js wrong' }, { topic: ABSENT, replicationFactor: 4 }] }));
  await fill();
  await make('listTopics', async () => (await admin.listTopics()).filter(ours).sort());
  await make('fetchTopicMetadata', () => admin.fetchTopicMetadata({ topics: [TOPIC, OTHER] }));
  await make('fetchTopicMetadata, absent', () => admin.fetchTopicMetadata({ topics: [ABSENT] }));
  await make('createPartitions, checked only', () => admin.createPartitions({ validateOnly: true, topicPartitions: [{ topic: OTHER, count: 4 }] }));
  await make('createPartitions', () => admin.createPartitions({ topicPartitions: [{ topic: OTHER, count: 3 }] }));
  await make('createPartitions, fewer', () => admin.createPartitions({ topicPartitions: [{ topic: OTHER, count: 1 }] }));
  await make('describeConfigs', () => admin.describeConfigs({ includeSynonyms: true, resources: [topic(TOPIC)] }));
  await make('describeConfigs, some', () => admin.describeConfigs({ includeSynonyms: false, resources: [{ ...topic(TOPIC), configNames: ['retention.ms', 'no.such'] }] }));
  await make('describeConfigs, absent', () => admin.describeConfigs({ includeSynonyms: false, resources: [topic(ABSENT)] }));
  await make('alterConfigs', () => admin.alterConfigs(change(TOPIC, ['max.message.bytes', '2000000'])));
  await make('alterConfigs, wrong', () => admin.alterConfigs(change(TOPIC, ['max.message.bytes', 'many'])));
  await make('alterConfigs, unknown', () => admin.alterConfigs(change(TOPIC, ['no.such', '1'])));
  await make('describeConfigs, after', () => admin.describeConfigs({ includeSynonyms: false, resources: [{ ...topic(TOPIC), configNames: ['max.message.bytes', 'retention.ms'] }] }));
  await make('fetchTopicOffsets', () => admin.fetchTopicOffsets(TOPIC));
  await make('fetchTopicOffsetsByTimestamp', () => admin.fetchTopicOffsetsByTimestamp(TOPIC, FIRST + 5));
  await make('deleteTopicRecords', () => admin.deleteTopicRecords({ topic: TOPIC, partitions: [{ partition: 0, offset: '3' }, { partition: 1, offset: '-1' }] }));
  await make('deleteTopicRecords, too far', () => admin.deleteTopicRecords({ topic: TOPIC, partitions: [{ partition: 2, offset: '30' }] }));
  await make('fetchTopicOffsets, after', () => admin.fetchTopicOffsets(TOPIC));
  await make('alterPartitionReassignments', () => admin.alterPartitionReassignments({ topics: [{ topic: TOPIC, partitionAssignment: [{ partition: 0, replicas: [1] }] }] }));
  await make('alterPartitionReassignments, nowhere', () => admin.alterPartitionReassignments({ topics: [{ topic: TOPIC, partitionAssignment: [{ partition: 0, replicas: [7] }] }] }));
  await make('listPartitionReassignments', () => admin.listPartitionReassignments({ topics: [{ topic: TOPIC, partitions: [0, 1] }] }));
  await make('listGroups', async () => (await admin.listGroups()).groups.filter((group) => ours(group.groupId)));
  await make('describeGroups', () => admin.describeGroups([GROUP, ABSENT]));
  await make('fetchOffsets', () => admin.fetchOffsets({ groupId: GROUP }));
  await make('fetchOffsets, some', () => admin.fetchOffsets({ groupId: GROUP, topics: [TOPIC, OTHER] }));
  await make('resetOffsets', () => admin.resetOffsets({ groupId: GROUP, topic: TOPIC, earliest: true }));
  await make('fetchOffsets, after', () => admin.fetchOffsets({ groupId: GROUP, resolveOffsets: true }));
  await make('deleteGroups', () => admin.deleteGroups([GROUP]));
  await make('deleteGroups, absent', () => admin.deleteGroups([ABSENT]));
  const acl = { resourceType: 2, resourceName: TOPIC, resourcePatternType: 3, principal: 'User:somebody', host: '*', operation: 3, permissionType: 3 };
  await make('createAcls', () => admin.createAcls({ acl: [acl] }));
  await make('describeAcls', () => admin.describeAcls(acl));
  await make('deleteAcls', () => admin.deleteAcls({ filters: [acl] }));
  await make('deleteTopics', () => admin.deleteTopics({ topics: [TOPIC, OTHER] }));
  await make('deleteTopics, absent', () => admin.deleteTopics({ topics: [ABSENT] }));
  await admin.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
