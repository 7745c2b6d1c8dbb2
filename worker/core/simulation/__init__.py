"""3 to 6: questions of an event, the draws that answer them, probabilities, and the responses that they become."""
