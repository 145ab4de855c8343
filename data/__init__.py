"""What a question is: five benchmarks and a user's own data, all as `data.examples.Example`."""
