exports.title = "一つの家";
