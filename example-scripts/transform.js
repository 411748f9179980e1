// expect: [{"city":"Bergen","orders":2,"total":70},{"city":"Oslo","orders":1,"total":40}]
// A JSON transform: group, count, sum and sort the orders in `input`.
const orders = typeof input === "undefined"
  ? [
      { city: "Oslo", total: 40 },
      { city: "Bergen", total: 50 },
      { city: "Bergen", total: 20 },
    ]
  : input;

const byCity = Object.groupBy(orders, (order) => order.city);
Object.entries(byCity)
  .map(([city, list]) => ({
    city,
    orders: list.length,
    total: list.reduce((sum, order) => sum + order.total, 0),
  }))
  .sort((left, right) => right.total - left.total);
