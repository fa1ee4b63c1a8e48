// KafkaJS. Usage: flights.js produce BROKER TOPIC CODEC. It reads in groups only, so it does not
// consume here. Runs with the folder of its packages as working directory.
const { createRequire } = require('node:module');
const readline = require('node:readline');

const local = createRequire(process.cwd() + '/');
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = local('kafkajs');
CompressionCodecs[CompressionTypes.Snappy] = local('kafkajs-snappy');
const codecs = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
};

async function produce(broker, topic, codec) {
  const kafka = new Kafka({ clientId: 'flights', brokers: [broker], logLevel: logLevel.ERROR });
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  let messages = [];
  const send = async () => {
    await producer.send({ topic, messages, compression: codecs[codec], acks: -1 });
    messages = [];
  };
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const tab = line.indexOf('\t');
    messages.push({ key: line.slice(0, tab) || null, value: line.slice(tab + 1) });
    if (messages.length === 1000) await send();
  }
  if (messages.length > 0) await send();
  await producer.disconnect();
}

const [verb, ...rest] = process.argv.slice(2);
if (verb !== 'produce') throw new Error(`no ${verb} here`);
produce(...rest).catch((error) => {
  console.error(error);
  process.exit(1);
});
