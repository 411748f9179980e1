// expect: ["first","second","third"]
// Timers, promises and top-level await: three steps that finish in the order of their delays.
const pause = (ms, value) => new Promise((resolve) => setTimeout(resolve, ms, value));

const finished = [];
const step = async (ms, name) => {
  finished.push(await pause(ms, name));
  console.log(`${name} is done`);
};

await Promise.all([step(30, "third"), step(10, "first"), step(20, "second")]);
finished;
