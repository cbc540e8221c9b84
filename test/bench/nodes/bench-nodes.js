/**
 * The two ends of a measured flow: a source that sends so many messages, and a node that does nothing with them but
 * count. Both say in the log when they began and when they were through.
 */
module.exports = function register(RED) {
  /** Messages of one turn of the event loop: a flow goes on handling them in between. */
  const TURN = 100;

  function BenchSource(config) {
    RED.nodes.createNode(this, config);
    this.on("input", (message, send, done) => {
      const { count, readings, run } = message.payload;
      this.log(`bench ${run} began ${performance.timeOrigin + performance.now()}`);
      // Parsed, as by an input node: in Node.js 20 a copy by spread has its own hidden class, dear to who reads it.
      const texts = readings.map((reading) => JSON.stringify(reading));
      let sent = 0;
      const turn = () => {
        for (let i = 0; i < TURN && sent < count; i++, sent++) {
          const payload = JSON.parse(texts[sent % texts.length]);
          payload.sequence = 100_000 + sent;
          send({ payload, run, count });
        }
        if (sent < count) setImmediate(turn);
        else done();
      };
      turn();
    });
  }

  function BenchNull(config) {
    RED.nodes.createNode(this, config);
    let run;
    let taken = 0;
    this.on("input", (message, send, done) => {
      if (message.run !== run) {
        run = message.run;
        taken = 0;
      }
      if (++taken === message.count) this.log(`bench ${run} through ${performance.timeOrigin + performance.now()}`);
      done();
    });
  }

  RED.nodes.registerType("bench-source", BenchSource);
  RED.nodes.registerType("bench-null", BenchNull);
};
