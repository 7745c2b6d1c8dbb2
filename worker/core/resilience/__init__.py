"""What is judged broken, and what that holds back: producers, suspected records, engines, a stalled loop."""
